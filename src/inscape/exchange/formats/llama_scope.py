"""Llama Scope: a folder with hyperparams.json and checkpoints/final.safetensors.

JumpReLU with one threshold for all features, on activations times sqrt(d_in) / their mean norm,
which the settings give for input and output. Nothing is subtracted. The scale is folded in: x·s
reads as W_enc·s, and the reconstruction as W_dec / s', b_dec / s'.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import of_hook, told

SETTINGS, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
_TENSORS = {
    "W_enc": "encoder.weight",
    "b_enc": "encoder.bias",
    "W_dec": "decoder.weight",
    "b_dec": "decoder.bias",
}


class LlamaScope(Format):
    """Llama Scope."""

    about: ClassVar[str] = f"Llama Scope: {SETTINGS} with {WEIGHTS}"

    def recognises(self, source: Path) -> bool:
        """By its two files."""
        return (source / SETTINGS).is_file() and (source / WEIGHTS).is_file()

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See above."""
        cfg = fmt.read_settings(source / SETTINGS)
        fmt.only(cfg.get("act_fn", "jumprelu"), ["jumprelu", "relu"], "act_fn", source / SETTINGS)
        for key in ("apply_decoder_bias_to_pre_encoder", "use_glu_encoder"):
            fmt.only(cfg.get(key, False), [False], key, source / SETTINGS)
        norm = cfg.get("norm_activation", "dataset-wise")
        fmt.only(norm, ["dataset-wise"], "norm_activation", source / SETTINGS)
        found = fmt.take(fmt.read_weights(source / WEIGHTS), _TENSORS, source / WEIGHTS)
        found["W_dec"] = found["W_dec"].T.contiguous()
        scale_in, scale_out = self._scales(cfg, found["W_enc"].shape[1], source)
        threshold = float(cfg.get("jump_relu_threshold", 0.0))
        found |= {
            "W_enc": found["W_enc"] * scale_in,
            "W_dec": found["W_dec"] / scale_out,
            "b_dec": found["b_dec"] / scale_out,
            "threshold": torch.full_like(found["b_enc"], threshold),
        }
        hooks = str(cfg.get("hook_point_in")), str(cfg.get("hook_point_out"))
        sites = of_hook(hooks[0]), of_hook(hooks[1])
        places = told(asked, sites, source, f"hooks {hooks[0]}, {hooks[1]}")
        return fmt.made(found, places, asked, source, self.name, subtract=False, k=cfg.get("top_k"))

    def _scales(self, cfg: dict[str, object], width: int, source: Path) -> tuple[float, float]:
        norms = cfg.get("dataset_average_activation_norm")
        if not isinstance(norms, dict) or not {"in", "out"} <= norms.keys():
            raise InputError(
                f"{source / SETTINGS} has no dataset_average_activation_norm for in and out",
                expected="the mean norms that the activations were divided by",
            )
        return width**0.5 / float(norms["in"]), width**0.5 / float(norms["out"])
