"""Llama Scope: a folder with hyperparams.json and checkpoints/final.safetensors.

JumpReLU with one threshold for all features, on activations times sqrt(d_in) / their mean norm,
which the settings give for input and output. Nothing is subtracted. The scale is folded in: x·s
reads as W_enc·s, and the reconstruction as W_dec / s', b_dec / s'.
"""

from __future__ import annotations

from pathlib import Path

import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import of_hook

SETTINGS, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
_TENSORS = {
    **{"W_enc": "encoder.weight", "b_enc": "encoder.bias"},
    **{"W_dec": "decoder.weight.T", "b_dec": "decoder.bias"},
}
_ALLOWED = {
    "act_fn": ("jumprelu", "relu"),
    "apply_decoder_bias_to_pre_encoder": (False,),
    "use_glu_encoder": (False,),
    "norm_activation": ("dataset-wise",),
}


class LlamaScope(Format):
    """Llama Scope."""

    about = f"Llama Scope: {SETTINGS} with {WEIGHTS}"
    files = (SETTINGS, WEIGHTS)

    def read(self, source: Path, asked: Asked) -> Dictionary:
        cfg = fmt.read_settings(source / SETTINGS)
        for key, allowed in _ALLOWED.items():
            fmt.only(cfg.get(key, allowed[0]), allowed, key, source / SETTINGS)
        found = fmt.take(fmt.read_weights(source / WEIGHTS), _TENSORS, source / WEIGHTS)
        norms = cfg.get("dataset_average_activation_norm")
        if not isinstance(norms, dict) or not {"in", "out"} <= norms.keys():
            raise InputError(
                f"{source / SETTINGS} has no dataset_average_activation_norm for in and out",
                expected="the mean norms that the activations were divided by",
            )
        scale = {way: found["W_enc"].shape[1] ** 0.5 / float(norms[way]) for way in ("in", "out")}
        found |= {
            "W_enc": found["W_enc"] * scale["in"],
            "W_dec": found["W_dec"] / scale["out"],
            "b_dec": found["b_dec"] / scale["out"],
            "threshold": torch.tensor(float(cfg.get("jump_relu_threshold", 0.0))),
        }
        hooks = [str(cfg.get(f"hook_point_{way}")) for way in ("in", "out")]
        sites, said = (of_hook(hooks[0]), of_hook(hooks[1])), f"hooks {', '.join(hooks)}"
        return self.made(found, source, asked, sites, said, k=cfg.get("top_k"))
