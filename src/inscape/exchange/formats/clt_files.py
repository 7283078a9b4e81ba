"""Cross-layer transcoders as circuit-tracer reads them: W_enc_l.safetensors, W_dec_l.safetensors.

For each layer l of L one file W_enc_l with W_enc_l [m, d], b_enc_l [m], b_dec_l [d], and with
threshold_l [m] where it is JumpReLU, else ReLU; another W_dec_l with W_dec_l [m, L - l, d], for
the layers from l on. Nothing is subtracted. config.yaml next to them names the hooks.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary, joined
from inscape.exchange import format as fmt
from inscape.exchange.circuit_tracer import CONFIG, CROSS_LAYER, kinds, settings
from inscape.exchange.format import Asked, Format, Weights
from inscape.exchange.sites import in_layer

_ENCODER = re.compile(r"W_enc_(\d+)\.safetensors")


class CLTFiles(Format):
    """Cross-layer transcoders."""

    about = "cross-layer transcoders: W_enc_N.safetensors and W_dec_N.safetensors"
    files = ("W_enc_0.safetensors",)

    def read(self, source: Path, asked: Asked) -> Dictionary:
        num = len([file for file in source.iterdir() if _ENCODER.fullmatch(file.name)])
        read, written = kinds(settings(source, CROSS_LAYER, asked))
        said = f"no {CONFIG}, or hooks of it that are none of ours"
        given = [_of_layers(one, num) for one in (asked.site, asked.to, read, written)]
        asked, sites = replace(asked, site=given[0], to=given[1]), (given[2], given[3])
        layers = [_layer(source, layer, num) for layer in range(num)]
        shapes = {tuple(layer["W_enc"].shape) for layer in layers}
        if len(shapes) > 1 or len({"threshold" in layer for layer in layers}) > 1:
            raise InputError(
                f"the layers of {source} differ: W_enc of the shapes {sorted(shapes)}",
                expected="as many features in each, all with thresholds or none",
            )
        weights = {key: torch.cat([layer[key] for layer in layers]) for key in layers[0]}
        weights.setdefault("threshold", torch.zeros(()))
        signed = bool((weights["threshold"] < 0).any())
        return self.made(weights, source, asked, sites, said, num_sites=num, signed=signed)


def _layer(source: Path, layer: int, num: int) -> Weights:
    """The tensors of one layer by our names; a row of W_dec for each feature and target."""
    encoder, decoder = (source / f"{name}_{layer}.safetensors" for name in ("W_enc", "W_dec"))
    names = {key: f"{key}_{layer}" for key in ("W_enc", "b_enc", "b_dec")}
    names["threshold"] = f"threshold_{layer}?"
    weights = fmt.take(fmt.read_weights(encoder), names, encoder)
    W_dec = fmt.take(fmt.read_weights(decoder), {"W_dec": f"W_dec_{layer}"}, decoder)["W_dec"]
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


def _of_layers(kind: str | None, num: int) -> str | None:
    """mlp_in, or mlp_in.*, as the sites of all layers; what names its layers is left as it is."""
    if kind is None or "." in kind.removesuffix(".*"):
        return kind
    return joined(in_layer(kind.removesuffix(".*"), layer) for layer in range(num))
