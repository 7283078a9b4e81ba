"""What a foreign format is, and what all of them share.

A format refuses what it does not know, by name: a setting that changes what is computed and is
passed over would give a dictionary that looks right and is wrong.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig

Weights = dict[str, Tensor]
Normalize = Literal["none", "layer_norm", "constant_norm"]


@dataclass(frozen=True)
class Asked:
    """What the user says beyond the files.

    site_in, site_out: where it reads and writes, where the files do not say it in our words. name:
    as in name/feature; the folder's by default. scale: what activations are multiplied by, for
    formats whose files leave it out. ignore: settings that are to be passed over.
    """

    site_in: str | None = None
    site_out: str | None = None
    name: str | None = None
    scale: float | None = None
    ignore: tuple[str, ...] = ()


class Format(ABC):
    """One foreign format."""

    name: ClassVar[str]
    about: ClassVar[str]

    @abstractmethod
    def recognises(self, source: Path) -> bool:
        """Whether a file or folder looks like one of this format."""

    @abstractmethod
    def read(self, source: Path, asked: Asked) -> Dictionary:
        """The dictionary.

        Raises:
            InputError: a setting or an architecture that is not known, a site that is not told.
            StorageError: a file is missing or corrupt.
        """

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Write the dictionary into an empty folder.

        Raises:
            InputError: the format cannot hold it.
        """
        raise InputError(f"{self.name} is read, not written", expected="another format")


def refuse_unknown(
    found: Mapping[str, Any], known: Collection[str], source: Path, ignore: Collection[str]
) -> None:
    """InputError that names the first setting that is not among those known."""
    for key in found:
        if key not in known and key not in ignore:
            raise InputError(
                f"{source} has the setting {key!r} ({found[key]!r}), whose meaning is not known",
                expected="settings of a known version of the format",
                next_step=f"if it does not change what is computed: --ignore {key}",
            )


def only(value: Any, allowed: Collection[Any], what: str, source: Path) -> None:
    """InputError where a setting has a value that is not supported."""
    if value not in allowed:
        raise InputError(f"{source} has {what} {value!r}", expected=" or ".join(map(repr, allowed)))


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        StorageError: it is missing, or is not one.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise StorageError(f"{path} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise StorageError(f"{path} holds no settings", expected="a JSON object")
    return found


def read_weights(path: Path) -> Weights:
    """The tensors of a safetensors file, in single precision.

    Raises:
        StorageError: it is missing or corrupt.
    """
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} cannot be read ({error})") from error


def read_pickle(path: Path) -> Any:
    """What a .pt file holds, tensors and plain values alone (nothing in it is run).

    Raises:
        StorageError: it is missing or corrupt, or holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing") from error
    except Exception as error:  # torch raises whatever its unpickler met
        raise StorageError(
            f"{path} cannot be read without running code that it brings ({type(error).__name__})",
            expected="tensors and plain values alone",
            next_step="save its state_dict again, with the library that made it",
        ) from error


def take(weights: Weights, names: Mapping[str, str], source: Path) -> Weights:
    """The tensors by our names (ours → theirs), each there and none left over.

    Raises:
        InputError: one is missing, or there is one more, by its name.
    """
    for theirs in names.values():
        if theirs not in weights:
            raise InputError(
                f"{source} has no tensor {theirs!r}", expected=", ".join(names.values())
            )
    for theirs in weights:
        if theirs not in names.values():
            raise InputError(
                f"{source} has the tensor {theirs!r}, whose meaning is not known",
                expected=", ".join(names.values()),
            )
    return {ours: weights[theirs] for ours, theirs in names.items()}


def made(
    weights: Weights,
    sites: tuple[str, str],
    asked: Asked,
    source: Path,
    fmt: str,
    *,
    subtract: bool,
    k: int | None = None,
    normalize: Normalize = "none",
) -> Dictionary:
    """The dictionary of weights in our layout: W_enc [d_dict, d_in], W_dec [d_dict, d_out].

    With `threshold` among them it is one of thresholds, with `W_skip` it has a skip.
    """
    config = DictionaryConfig(
        kind="threshold" if "threshold" in weights else "topk",
        site_in=sites[0],
        site_out=sites[1],
        d_in=weights["W_enc"].shape[1],
        d_out=weights["W_dec"].shape[1],
        d_dict=weights["W_enc"].shape[0],
        k=k,
        subtract_b_dec=subtract,
        skip="W_skip" in weights,
        normalize=normalize,
    )
    name = asked.name or (source.name if source.is_dir() else source.stem)
    origin = {"format": fmt, "source": source.name}
    return Dictionary(config, weights, name=name, made_from=origin)


def gated_as_threshold(
    W_enc: Float[Tensor, "d_dict d_in"], b_gate: Tensor, r_mag: Tensor, b_mag: Tensor
) -> Weights:
    """A gated encoder as one of thresholds: the gate x W + b_gate > 0 says, with W' = exp(r) W,
    that x W' + b_mag > b_mag - exp(r) b_gate."""
    scale = r_mag.exp()
    return {
        "W_enc": scale[:, None] * W_enc,
        "b_enc": b_mag.clone(),
        "threshold": b_mag - scale * b_gate,
    }


def without_subtraction(dictionary: Dictionary) -> Weights:
    """The weights of the same dictionary, had it not subtracted b_dec."""
    weights = dict(dictionary.weights)
    if dictionary.config.subtract_b_dec:
        weights["b_enc"] = weights["b_enc"] - weights["W_enc"] @ weights["b_dec"]
    return weights


def refuse_normalized(dictionary: Dictionary, fmt: str) -> None:
    """InputError where tokens are normalised, which the format cannot say."""
    if dictionary.config.normalize != "none":
        raise InputError(
            f"{dictionary.name} normalises each token ({dictionary.config.normalize})",
            expected=f"a dictionary that reads activations as they are: {fmt} holds no other",
        )
