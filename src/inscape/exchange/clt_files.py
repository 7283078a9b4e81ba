"""Cross-layer transcoders as circuit-tracer reads them: W_enc_l.safetensors, W_dec_l.safetensors.

For each layer l of L one file W_enc_l with W_enc_l [m, d], b_enc_l [m], b_dec_l [d], and with
threshold_l [m] where it is JumpReLU, else ReLU; another W_dec_l with W_dec_l [m, L - l, d], for
the layers from l on. Nothing is subtracted. config.yaml beside them names the hooks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig, joined
from inscape.exchange.format import Asked, Format, only, read_weights, refuse_unknown, take
from inscape.exchange.sites import kind_of_hook, told

CONFIG = "config.yaml"
_ENCODER = re.compile(r"W_enc_(\d+)\.safetensors")
# Where it was published, and what it is called there: nothing of it changes what is computed.
_ORIGIN = ("model_name", "scan", "scan_name", "repo_id", "revision", "subfolder", "transcoders")


class CLTFiles(Format):
    """Cross-layer transcoders."""

    name: ClassVar[str] = "clt_files"
    about: ClassVar[str] = "cross-layer transcoders: W_enc_N.safetensors and W_dec_N.safetensors"

    def recognises(self, source: Path) -> bool:
        """A folder with such files."""
        return (source / "W_enc_0.safetensors").is_file()

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See above."""
        num = len([file for file in source.iterdir() if _ENCODER.fullmatch(file.name)])
        kinds = hooks(source, "cross_layer_transcoder", asked)
        read, written = told(
            Asked(_of_layers(asked.site_in, num), _of_layers(asked.site_out, num)),
            (_of_layers(kinds[0], num), _of_layers(kinds[1], num)),
            source,
            f"no {CONFIG}",
        )
        layers = [_layer(source, layer, num) for layer in range(num)]
        shapes = {tuple(layer["W_enc"].shape) for layer in layers}
        if len(shapes) > 1 or len({"threshold" in layer for layer in layers}) > 1:
            raise InputError(
                f"the layers of {source} differ: W_enc of the shapes {sorted(shapes)}",
                expected="as many features in each, all with thresholds or none",
            )
        weights = {key: torch.cat([layer[key] for layer in layers]) for key in layers[0]}
        if "threshold" not in weights:
            weights["threshold"] = torch.zeros_like(weights["b_enc"])
        width = weights["W_enc"].shape[1]
        config = DictionaryConfig(
            kind="threshold",
            site_in=read,
            site_out=written,
            d_in=num * width,
            d_out=num * width,
            d_dict=len(weights["b_enc"]),
            subtract_b_dec=False,
            widths=(width,) * num,
        )
        origin = {"format": self.name, "source": source.name}
        return Dictionary(config, weights, name=asked.name or source.name, made_from=origin)


def _layer(source: Path, layer: int, num: int) -> dict[str, torch.Tensor]:
    """The tensors of one layer by our names; a row of W_dec for each feature and target."""
    encoder, decoder = (source / f"{name}_{layer}.safetensors" for name in ("W_enc", "W_dec"))
    found = read_weights(encoder)
    names = {key: f"{key}_{layer}" for key in ("W_enc", "b_enc", "b_dec")}
    if f"threshold_{layer}" in found:
        names["threshold"] = f"threshold_{layer}"
    weights = take(found, names, encoder)
    W_dec = take(read_weights(decoder), {"W_dec": f"W_dec_{layer}"}, decoder)["W_dec"]
    features, width = len(weights["b_enc"]), len(weights["b_dec"])
    wanted = (features, num - layer, width)
    if W_dec.shape != wanted or weights["W_enc"].shape != (features, width):
        raise InputError(
            f"{source}: W_enc_{layer} has the shape {tuple(weights['W_enc'].shape)}, W_dec_{layer} "
            f"{tuple(W_dec.shape)}",
            expected=f"{(features, width)} and {wanted}",
        )
    if "threshold" in weights:
        weights["threshold"] = weights["threshold"].flatten()
    return {**weights, "W_dec": W_dec.reshape(-1, width)}


def hooks(folder: Path, kind: str, asked: Asked) -> tuple[str | None, str | None]:
    """The kinds of site (mlp_in, mlp_out) that config.yaml in a folder names; None without it.

    Raises:
        InputError: it is of another kind, or has a setting that is not known.
        StorageError: it cannot be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None, None
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise StorageError(f"{path} cannot be read ({reason})") from error
    if not isinstance(found, dict):
        raise StorageError(f"{path} holds no settings", expected="names with their values")
    own = ("model_kind", "feature_input_hook", "feature_output_hook", "activation")
    refuse_unknown(found, (*_ORIGIN, *own), path, asked.ignore)
    only(found.get("model_kind", kind), [kind], "model_kind", path)
    only(found.get("activation", "relu"), ["relu", "jump_relu"], "activation", path)
    read, written = (found.get(f"feature_{way}_hook") for way in ("input", "output"))
    return kind_of_hook(read), kind_of_hook(written)


def _of_layers(kind: str | None, num: int) -> str | None:
    """mlp_in, or mlp_in.*, as the sites of all layers; what names its layers is left as it is."""
    if kind is None or "." in kind.removesuffix(".*"):
        return kind
    return joined(f"{kind.removesuffix('.*')}.{layer}" for layer in range(num))
