"""What a foreign format is, and what all of them share.

A format refuses what it does not know, by name: ignoring a setting that changes what is computed
would give a dictionary that looks right and is wrong.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig, check_name, refuse_not_finite
from inscape.exchange.asked import Asked as Asked
from inscape.exchange.asked import Weights as Weights
from inscape.exchange.sites import through_norm

if TYPE_CHECKING:
    pass

Normalize = Literal["none", "layer_norm", "constant_norm"]


class Format(ABC):
    """One foreign format."""

    name: ClassVar[str]
    about: ClassVar[str]
    by_layer: ClassVar[str] = ""
    """The pattern of its files, where a folder holds one dictionary of a layer each."""

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


_COMPUTES = re.compile(
    r"act|relu|topk|(^|_)k$|thresh|norm|scal|gate|glu|bias|skip|affine|hook|site|arch|transpose|type"
)


def refuse_unknown(
    found: Mapping[str, Any], known: Collection[str], source: Path, ignore: Collection[str]
) -> None:
    """InputError that names the first setting that is not among those known. That it may be ignored
    is not suggested where its name speaks of what is computed."""
    for key in found:
        if key not in known and key not in ignore:
            harmless = not _COMPUTES.search(key.lower())
            raise InputError(
                f"{source} has the setting {key!r} ({found[key]!r}), whose meaning is not known",
                expected="settings of a known version of the format",
                next_step=f"if it does not change what is computed: --ignore {key}"
                if harmless
                else "it may change what is computed: save it again without it",
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
        if path.stat().st_size == 0:
            raise StorageError(f"{path} is empty", next_step="download or copy it again")
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
    **more: Any,
) -> Dictionary:
    """The dictionary of weights in our layout: W_enc [d_dict, d_in], W_dec [d_dict, d_out].

    With `threshold` among them it is one of thresholds, with `W_skip` it has a skip, with `W_glu`
    a GLU, with `choice` a weighted choice. A site that is read before its norm's gain is brought to
    ours (`sites.through_norm`). `more`: further fields of the configuration.

    Raises:
        InputError: a name that is none, or a configuration that cannot be.
        StorageError: a weight is not finite.
    """
    sites, weights = through_norm(sites, weights, asked, source)
    refuse_not_finite(weights, source)
    config = DictionaryConfig(
        kind="threshold" if "threshold" in weights else "topk",
        site_in=sites[0],
        site_out=sites[1],
        **{
            "d_in": weights["W_enc"].shape[1],
            "d_out": weights["W_dec"].shape[1],
            "d_dict": weights["W_enc"].shape[0],
            "k": k,
            "subtract_b_dec": subtract,
            "skip": "W_skip" in weights,
            "weighted": "choice" in weights,
            "glu": "W_glu" in weights,
            "normalize": normalize,
            **more,
        },
    )
    origin = {"format": fmt, "source": source.name}
    name = check_name(asked.name or config.site_name)
    return Dictionary(config, weights, name=name, made_from=origin)


def needed_k(asked: Asked, *found: Any, source: Path, said: str) -> int:
    """k of a top-k dictionary: what the user says before what was found.

    Raises:
        InputError: neither says it.
    """
    for one in (asked.k, *found):
        if one is not None:
            return int(one)
    raise InputError(
        f"{source} is a top-k dictionary and does not say its k ({said})",
        expected="how many features are active at a token",
        next_step="pass --k",
    )


def block_diagonal(parts: Sequence[Tensor]) -> Tensor:
    """Matrices of one shape along the diagonal of one that is 0 elsewhere."""
    height, width = parts[0].shape
    out = parts[0].new_zeros(len(parts) * height, len(parts) * width)
    for n, part in enumerate(parts):
        out[n * height : (n + 1) * height, n * width : (n + 1) * width] = part
    return out


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
