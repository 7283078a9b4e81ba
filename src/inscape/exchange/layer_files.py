"""Per-layer transcoders as circuit-tracer reads them: layer_N.safetensors.

ReLU transcoders from the MLP's input to its output: W_enc [m, d], W_dec [m, d], b_enc, b_dec.
Nothing is subtracted. With `W_skip` there is a linear skip, with `activation_function.threshold` or
`threshold` they are JumpReLU. config.yaml beside them, where there is one, names the hooks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import save_file

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange.clt_files import CONFIG, hooks
from inscape.exchange.format import (
    Asked,
    Format,
    made,
    read_weights,
    refuse_normalized,
    take,
    without_subtraction,
)
from inscape.exchange.sites import told

_PATTERN = re.compile(r"layer_(\d+)\.safetensors")
_TENSORS = {"W_enc": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
_THRESHOLDS = ("activation_function.threshold", "threshold")


class LayerFiles(Format):
    """Per-layer transcoders."""

    name: ClassVar[str] = "layer_files"
    about: ClassVar[str] = "per-layer transcoders: layer_N.safetensors"

    def recognises(self, source: Path) -> bool:
        """A file of that name."""
        return source.is_file() and _PATTERN.fullmatch(source.name) is not None

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See above."""
        raw = read_weights(source)
        names = dict(_TENSORS)
        for key in raw.keys() & set(_THRESHOLDS):
            names["threshold"] = key
        if "W_skip" in raw:
            names["W_skip"] = "W_skip"
        found = take(raw, names, source)
        if found["W_enc"].shape[0] != found["b_enc"].shape[0]:
            raise InputError(
                f"{source} has W_enc of shape {tuple(found['W_enc'].shape)}",
                expected=f"[{found['b_enc'].shape[0]}, d_in], a row for each feature",
            )
        threshold = found.get("threshold", torch.zeros(()))
        found["threshold"] = threshold.expand(found["b_enc"].shape).contiguous()
        sites = _sites(source, asked)
        return made(
            found,
            told(asked, sites, source, f"file {source.name}"),
            asked,
            source,
            self.name,
            subtract=False,
        )

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Transcoders of thresholds, from an MLP's input to its output."""
        config = dictionary.config
        refuse_normalized(dictionary, self.name)
        layer = config.site_in.removeprefix("mlp_in.")
        if (config.site_in, config.site_out) != (f"mlp_in.{layer}", f"mlp_out.{layer}"):
            raise InputError(
                f"{dictionary.name} reads {config.site_in} and writes {config.site_out}",
                expected="a transcoder of an MLP: these files hold no other",
            )
        if config.kind != "threshold":
            raise InputError(
                f"{dictionary.name} is a TopK dictionary",
                expected="ReLU or thresholds: these files hold no other",
                next_step="export it to sparsify",
            )
        weights = without_subtraction(dictionary)
        threshold = weights.pop("threshold").clamp_min(0)
        if bool((threshold > 0).any()):
            weights["activation_function.threshold"] = threshold
        save_file(
            {key: value.cpu().contiguous() for key, value in weights.items()},
            folder / f"layer_{layer}.safetensors",
        )


def _sites(source: Path, asked: Asked) -> tuple[str | None, str | None]:
    """(read, written) as config.yaml beside the file says, else those of the layer's MLP."""
    number = _PATTERN.fullmatch(source.name)
    if number is None:
        return None, None
    kinds: tuple[str | None, str | None] = ("mlp_in", "mlp_out")
    if (source.parent / CONFIG).is_file():
        kinds = hooks(source.parent, "transcoder_set", asked)
    read, written = (kind and f"{kind}.{number[1]}" for kind in kinds)
    return read, written
