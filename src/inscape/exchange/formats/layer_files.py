"""Per-layer transcoders as circuit-tracer reads them: layer_N.safetensors.

Transcoders from the MLP's input to its output: W_enc [m, d], W_dec [m, d], b_enc, b_dec. Nothing is
subtracted. With `W_skip` there is a linear skip. config.yaml next to them, if there is one, names
the hooks and the activation:
- relu, or none and no threshold;
- jump_relu, or none with `activation_function.threshold` or `threshold`: x·(x > threshold), so that
  a negative threshold lets negative values through;
- topk: the k largest, whatever their sign; k from the file, config.yaml, the scan's name or --k.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.circuit_tracer import SET, kinds, settings
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import in_layer

_PATTERN = re.compile(r"layer_(\d{1,4})\.safetensors")
_TENSORS = {key: key for key in ("W_enc", "b_enc", "W_dec", "b_dec")} | {"W_skip": "W_skip?"}
_THRESHOLDS = ("activation_function.threshold", "threshold")
_K_OF_SCAN = {"facebook/crv-8b-instruct-transcoders": 128}
"""Published without their k; circuit-tracer knows it by this name."""


class LayerFiles(Format):
    """Per-layer transcoders."""

    about = "per-layer transcoders: layer_N.safetensors"
    by_layer = "layer_*.safetensors"

    def recognises(self, source: Path) -> bool:
        return source.is_file() and _PATTERN.fullmatch(source.name) is not None

    def read(self, source: Path, asked: Asked) -> Dictionary:
        cfg = asked.settings or settings(source.parent, SET, asked)
        raw = fmt.read_weights(source)
        k = raw.pop("k", None)
        names = dict(_TENSORS)
        for key in raw.keys() & set(_THRESHOLDS):
            names["threshold"] = key
        found = fmt.take(raw, names, source)
        if found["W_enc"].shape[0] != found["b_enc"].shape[0]:
            raise InputError(
                f"{source} has W_enc of shape {tuple(found['W_enc'].shape)}",
                expected=f"[{found['b_enc'].shape[0]}, d_in], a row for each feature",
            )
        number = _PATTERN.fullmatch(source.name)
        read, written = kinds(cfg) if cfg else ("mlp_in", "mlp_out")
        layer = int(number[1]) if number else 0
        sites = [in_layer(kind, layer) if number and kind else None for kind in (read, written)]
        topk = cfg.get("activation") == "topk" or (not cfg and asked.k is not None)
        if topk:
            found.pop("threshold", None)
            known = _K_OF_SCAN.get(str(cfg.get("scan", cfg.get("repo_id"))))
            said = "no k in the file"
            chosen = fmt.needed_k(asked, k, cfg.get("k"), known, source=source, said=said)
        elif cfg.get("activation") == "relu" or "threshold" not in found:
            found["threshold"] = torch.zeros(())
        return self.made(
            found,
            source,
            asked,
            (sites[0], sites[1]),
            f"file {source.name}",
            k=chosen if topk else None,
            signed=topk or bool((found["threshold"] < 0).any()),
        )

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Transcoders of thresholds, from an MLP's input to its output."""
        config = dictionary.config
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
        weights = fmt.without_subtraction(dictionary)
        threshold = weights.pop("threshold").clamp_min(0)
        if bool((threshold > 0).any()):
            weights["activation_function.threshold"] = threshold
        fmt.save(weights, folder / f"layer_{layer}.safetensors")
