"""What a foreign format is, and what all of them share.

A format refuses what it does not know, by name: ignoring a setting that changes what is computed
would give a dictionary that looks right and is wrong.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig, check_name, refuse_not_finite
from inscape.exchange.sites import NO_GAIN
from inscape.model import Model, Site
from inscape.storage import reading

Weights = dict[str, Tensor]
Sites = tuple[str | None, str | None]
"""The sites that are read and written, as far as the files say."""
Normalize = Literal["none", "layer_norm", "constant_norm"]
AGAIN = "download or copy it again"


@dataclass(frozen=True)
class Asked:
    """What the user says of a dictionary beyond its files.

    site, to: where it reads and writes, where the files do not say it in our words. name: as in
    name/feature; from its sites by default. scale: what activations are multiplied by, for
    formats whose files leave it out. ignore: settings to ignore. k: of a top-k dictionary whose
    files leave it out. model: whose norm is folded in, for dictionaries that read what an MLP's
    norm gives before its gain. settings: those of the set (config.yaml) that it belongs to.
    """

    site: str | None = None
    to: str | None = None
    name: str | None = None
    scale: float | None = None
    ignore: tuple[str, ...] = ()
    k: int | None = None
    model: Model | None = None
    settings: Mapping[str, Any] | None = None


class Format(ABC):
    """One foreign format; it is named as its module."""

    name: ClassVar[str]
    about: ClassVar[str]
    files: ClassVar[tuple[str, ...]] = ()
    """The files by which a folder of it is recognised."""
    by_layer: ClassVar[str] = ""
    """The pattern of its files, where a folder holds one dictionary of a layer each."""
    normalizes: ClassVar[bool] = False
    """Whether what it writes can say that tokens are normalised."""

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    def recognises(self, source: Path) -> bool:
        """Whether a file or folder looks like one of this format."""
        return all((source / file).is_file() for file in self.files)

    @abstractmethod
    def read(self, source: Path, asked: Asked) -> Dictionary:
        """The dictionary.

        Raises:
            InputError: a setting or an architecture that is not known, a site that is not named.
            StorageError: a file is missing or corrupt.
        """

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Write the dictionary into an empty folder.

        Raises:
            InputError: the format cannot hold it.
        """
        raise InputError(f"{self.name} is read, not written", expected="another format")

    def made(
        self,
        weights: Weights,
        source: Path,
        asked: Asked,
        sites: Sites,
        said: str,
        *,
        subtract: bool = False,
        num_sites: int = 1,
        **more: Any,
    ) -> Dictionary:
        """The dictionary of weights in our layout: W_enc [d_dict, d_in], W_dec [d_dict, d_out].

        With `threshold` ([d_dict], or one number) among them it is one of thresholds, with `W_skip`
        it has a skip, with `W_glu` a GLU, with `choice` a weighted choice. Of several sites
        (`num_sites`) b_dec has the width of all. A site that is read before its norm's gain is
        brought to ours (see `through_norm`). said: what the files say of the sites, for messages.
        more: further fields of the configuration.

        Raises:
            InputError: a name that is none, or a configuration that cannot be.
            StorageError: a weight is not finite.
        """
        names, weights = through_norm(
            named_sites(asked, sites, source, said), weights, asked, source
        )
        if "threshold" in weights:
            threshold = weights["threshold"].expand(weights["b_enc"].shape)
            weights = {**weights, "threshold": threshold.contiguous()}
        refuse_not_finite(weights, source)
        d_in, d_out = weights["W_enc"].shape[1], weights["W_dec"].shape[1]
        if num_sites > 1:
            d_in = d_out = len(weights["b_dec"])
            more["widths"] = (d_out // num_sites,) * num_sites
        config = DictionaryConfig(
            kind="threshold" if "threshold" in weights else "topk",
            site_in=names[0],
            site_out=names[1],
            d_in=d_in,
            d_out=d_out,
            d_dict=weights["W_enc"].shape[0],
            subtract_b_dec=subtract,
            skip="W_skip" in weights,
            weighted="choice" in weights,
            glu="W_glu" in weights,
            **more,
        )
        origin = {"format": self.name, "source": source.name}
        name = check_name(asked.name or config.site_name)
        return Dictionary(config, weights, name=name, made_from=origin)


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
    with reading(path, AGAIN, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise StorageError(f"{path} holds no settings", expected="a JSON object")
    return found


def read_weights(path: Path) -> Weights:
    """The tensors of a safetensors file, in single precision.

    Raises:
        StorageError: it is missing or corrupt.
    """
    with reading(path, AGAIN, OSError, SafetensorError):
        return {key: value.float() for key, value in load_file(path).items()}


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


def read_state(path: Path) -> Weights:
    """The tensors of a .pt file with a state_dict, in single precision; errors as `read_pickle`,
    and InputError where it holds something else."""
    state = read_pickle(path)
    if isinstance(state, Mapping) and set(state) == {"ae"}:
        state = state["ae"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} is no state_dict", expected="tensors by name")
    return {key: value.float() for key, value in state.items()}


def save(weights: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors as a safetensors file."""
    save_file({key: value.cpu().contiguous() for key, value in weights.items()}, path)


def save_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Writes settings as JSON."""
    path.write_text(json.dumps(settings, indent=1))


def take(weights: Weights, names: Mapping[str, str], source: Path) -> Weights:
    """The tensors by our names (ours → theirs), each there and none left over. A name of theirs
    that ends in .T is transposed; one that ends in ? may be missing. A gated encoder (r_mag) is
    brought to one of thresholds.

    Raises:
        InputError: one is missing, or there is one more, by its name.
    """
    found, left = {}, dict(weights)
    expected = ", ".join(name.removesuffix("?").removesuffix(".T") for name in names.values())
    for ours, name in names.items():
        theirs = name.removesuffix("?").removesuffix(".T")
        if theirs in left:
            tensor = left.pop(theirs)
            found[ours] = tensor.T.contiguous() if ".T" in name else tensor
        elif not name.endswith("?"):
            raise InputError(f"{source} has no tensor {theirs!r}", expected=expected)
    for theirs in left:
        raise InputError(
            f"{source} has the tensor {theirs!r}, whose meaning is not known", expected=expected
        )
    if "r_mag" in found:
        found |= _gated_as_threshold(
            found["W_enc"], *(found.pop(key) for key in ("b_gate", "r_mag", "b_mag"))
        )
    return found


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


def _gated_as_threshold(
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


def named_sites(asked: Asked, found: Sites, source: Path, said: str) -> tuple[str, str]:
    """(read, written): what the user says before what the files say.

    Raises:
        InputError: neither says it, or it is no site.
    """
    site_in = asked.site or found[0]
    site_out = asked.to or (found[1] if found[0] != found[1] else site_in)
    if site_in is None or site_out is None:
        raise InputError(
            f"{source} does not say at which site it reads and writes ({said})",
            expected="a site such as resid_post.5",
            next_step="pass --site (and --to for a transcoder)",
        )
    for name in (site_in, site_out):
        for site in name.split("+"):
            Site.parse(site.removesuffix(NO_GAIN).rpartition(":")[2])
    return site_in, site_out


def through_norm(
    sites: tuple[str, str], weights: Weights, asked: Asked, source: Path
) -> tuple[tuple[str, str], Weights]:
    """Sites of ours, and weights that read them: x̂ = (x - bias) / gain, with gain and bias of the
    norm before the MLP, so W' = W / gain and b' = b - W'·bias.

    Raises:
        InputError: no model was passed, or it has no such norm.
    """
    names = sites[0].split("+")
    if not any(name.endswith(NO_GAIN) for name in names):
        return sites, weights
    plain = "+".join(name.removesuffix(NO_GAIN) for name in names)
    if asked.model is None:
        raise InputError(
            f"{source} reads {plain} before the gain of its norm",
            expected="the model, whose gain is folded into the encoder",
            next_step=f"pass --model, or --site {plain} if its weights read what the MLP reads",
        )
    norms = [_norm(asked.model, name) for name in names]
    gain, bias = (torch.stack(part) for part in zip(*norms, strict=True))
    found = dict(weights)
    for key, constant in (("W_enc", "b_enc"), ("W_glu", "b_glu"), ("W_skip", "b_dec")):
        if key in found:
            W, g, b = found[key], gain, bias
            if W.ndim == 2 and W.shape[1] == gain.numel():  # what is read lies side by side
                W, g, b = W[None], gain.reshape(1, -1), bias.reshape(1, -1)
            elif W.ndim == 2:  # each site's share of the features reads it
                W = W.reshape(len(names), -1, gain.shape[1])
            divided = W / g[:, None]
            found[key] = divided.reshape(found[key].shape)
            found[constant] = found[constant] - (divided @ b[..., None]).flatten()
    return (plain, sites[1]), found


def _norm(model: Model, name: str) -> tuple[Tensor, Tensor]:
    """Gain and bias of the norm that a site's marked name asks for; 1 and 0 for any other."""
    site = model.site(name.removesuffix(NO_GAIN))
    if site.layer is None or not name.endswith(NO_GAIN):
        return torch.ones(model.d_model), torch.zeros(model.d_model)
    norm = model.structure.blocks[site.layer].mlp_norm
    gain = None if norm is None else norm.weight
    if norm is None or gain is None or bool((gain.abs() < 1e-6).any()):
        raise InputError(
            f"{model.name} has no norm with a gain before {site}, or a gain that is 0",
            expected="a gain to divide by",
            next_step="check that the dictionary is one of this model",
        )
    bias = getattr(norm.module, "bias", None)
    shift = torch.zeros_like(gain) if bias is None else bias.detach().float()
    return gain.detach().cpu(), shift.cpu()
