"""Gemma Scope 2: params.safetensors (or params_layer_N.safetensors) with config.json.

1. One dictionary: w_enc [d, m], w_dec [m, d], b_enc, b_dec, threshold [m]. JumpReLU on activations
   as they are. affine_skip_connection [d_in, d_out] adds x @ affine: not transposed.
2. Cross-layer transcoders and crosscoders: a file for each layer, whose features read that layer
   alone and write all: w_dec [m, layers, d] by absolute layer, affine within the layer. A
   cross-layer transcoder writes no earlier layer, so that those slots are 0 and are left out.
3. Sites come from config.json (hf_hook_point_in, hf_hook_point_out) or the path, as in
   transcoder/layer_12_width_16k_l0_small_affine. Transcoders read the MLP's input with the gain of
   its norm; attn_out reads what the heads give, side by side.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary, joined
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format, Sites, Weights

FILE, LAYER_FILE, CONFIG = "params.safetensors", "params_layer_{}.safetensors", "config.json"
_NAMES = {key: key.lower() for key in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")} | {
    "W_enc": "w_enc.T",
    "W_skip": "affine_skip_connection.T?",
}
_SETTINGS = (
    "hf_hook_point_in hf_hook_point_out width model_name architecture l0 affine_connection type"
).split()
_MODULES = {
    "output": "resid_post",
    "self_attn.o_proj.input": "attn_head",
    "post_feedforward_layernorm.output": "mlp_out",
    "pre_feedforward_layernorm.output": "mlp_in",
}
_KINDS = {
    "resid_post": ("resid_post", "resid_post"),
    "attn_out": ("attn_head", "attn_head"),
    "mlp_out": ("mlp_out", "mlp_out"),
    "transcoder": ("mlp_in", "mlp_out"),
    "clt": ("mlp_in", "mlp_out"),
    "crosscoder": ("resid_post", "resid_post"),
}


class GemmaScope2(Format):
    """Gemma Scope 2."""

    about = f"Gemma Scope 2: {FILE} or {LAYER_FILE.format('N')}"

    def recognises(self, source: Path) -> bool:
        folder = source.parent if source.name == FILE else source
        return any((folder / name).is_file() for name in (FILE, LAYER_FILE.format(0)))

    def read(self, source: Path, asked: Asked) -> Dictionary:
        folder = source.parent if source.name == FILE else source
        cfg = fmt.read_settings(folder / CONFIG) if (folder / CONFIG).is_file() else {}
        fmt.refuse_unknown(cfg, _SETTINGS, folder / CONFIG, asked.ignore)
        fmt.only(
            cfg.get("architecture", "jump_relu"), ["jump_relu"], "architecture", folder / CONFIG
        )
        k = asked.k or (round(cfg["l0"]) if isinstance(cfg.get("l0"), int | float) else None)
        if not (folder / FILE).is_file():
            return self._of_layers(folder, asked, k)
        found = fmt.take(fmt.read_weights(folder / FILE), _NAMES, folder / FILE)
        said = "neither its path nor config.json"
        return self.made(found, folder, asked, _sites(folder, cfg), said, k=k)

    def _of_layers(self, folder: Path, asked: Asked, k: int | None) -> Dictionary:
        files = sorted(folder.glob(LAYER_FILE.format("*")), key=_number)
        if [_number(file) for file in files] != list(range(len(files))):
            raise InputError(
                f"{folder} lacks a layer's file",
                expected=f"{LAYER_FILE.format(0)} and all that follow",
            )
        layers = [fmt.take(fmt.read_weights(file), _NAMES, file) for file in files]
        if len({tuple(layer["W_dec"].shape) for layer in layers}) > 1:
            raise InputError(f"the layers of {folder} differ in shape", expected="one shape")
        num = len(layers)
        kind, numbers = _kind(folder), _layer_numbers(folder) or list(range(num))
        crosscoder = kind == "crosscoder" or (kind is None and len(numbers) < num)
        read, written = _KINDS["crosscoder" if crosscoder else "clt"]
        found = [joined(f"{part}.{layer}" for layer in numbers) for part in (read, written)]
        sites = fmt.named_sites(asked, (found[0], found[1]), folder, "its path")
        parts = {key: [layer[key] for layer in layers] for key in layers[0]}
        weights: Weights = {key: torch.cat(parts[key]) for key in ("b_enc", "threshold", "b_dec")}
        if "W_skip" in parts:
            weights["W_skip"] = torch.stack(parts["W_skip"])
        if sites[0] == sites[1]:  # a crosscoder
            weights["W_enc"] = torch.block_diag(*parts["W_enc"])  # type: ignore[no-untyped-call]
            weights["W_dec"] = torch.cat(parts["W_dec"]).flatten(1)
        else:
            weights["W_enc"] = torch.cat(parts["W_enc"])
            decoders = [_later(part, n, folder) for n, part in enumerate(parts["W_dec"])]
            weights["W_dec"] = torch.cat(decoders)
        return self.made(weights, folder, asked, sites, "its path", num_sites=num, k=k)


def _later(decoder: Tensor, layer: int, folder: Path) -> Tensor:
    """The rows [m·(layers - layer), d] of w_dec [m, layers, d] that write this layer and later."""
    earlier = decoder[:, :layer]
    if earlier.numel() and float(earlier.abs().max()) > 1e-5 * float(decoder.abs().max()):
        raise InputError(
            f"features of layer {layer} in {folder} write earlier layers",
            expected="a cross-layer transcoder, whose features write their layer and later ones",
        )
    return decoder[:, layer:].flatten(0, 1)


def _sites(folder: Path, cfg: dict[str, Any]) -> Sites:
    """(read, written) as config.json says, else the path."""
    points = tuple(_site(str(cfg.get(f"hf_hook_point_{way}", ""))) for way in ("in", "out"))
    if points[0] and points[1]:
        return points[0], points[1]
    kind, numbers = _kind(folder), _layer_numbers(folder)
    if kind not in _KINDS or len(numbers) != 1:
        return None, None
    read, written = _KINDS[kind]
    return f"{read}.{numbers[0]}", f"{written}.{numbers[0]}"


def _site(point: str) -> str | None:
    found = re.fullmatch(r"(?:.*\.)?layers\.(\d{1,4})\.([\w.]+)", point)
    kind = _MODULES.get(found[2]) if found else None
    return f"{kind}.{found[1]}" if found and kind else None


def _kind(folder: Path) -> str | None:
    parts = [part.removesuffix("_all") for part in folder.absolute().parts]
    return next((part for part in reversed(parts) if part in _KINDS), None)


def _layer_numbers(folder: Path) -> list[int]:
    found = re.match(r"layer((?:_\d{1,4})+)_", folder.absolute().name)
    return [int(number) for number in found[1].split("_")[1:]] if found else []


def _number(file: Path) -> int:
    return int(file.stem.rpartition("_")[2]) if file.stem.rpartition("_")[2].isdecimal() else -1
