"""dictionary_learning: a folder with ae.pt (a state_dict) and config.json.

1. config.json names the class (trainer.dict_class); tensors follow from it.
2. AutoEncoder, gated, TopK, BatchTopK and Matryoshka subtract the decoder's bias; AutoEncoderNew
   and JumpReluAutoEncoder do not.
3. BatchTopK and Matryoshka are thresholds when they are used; a threshold of -1 was never set, and
   lets everything positive through. TopK chooses per token, whatever its stored threshold.
4. AutoEncoder's loader brings decoder rows to unit norm, and the encoder takes their lengths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format, Weights
from inscape.exchange.sites import told

AE, CONFIG = "ae.pt", "config.json"
_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight"}
_SLOTS = {**_LINEAR, "b_dec": "b_dec", "k": "k", "threshold": "threshold"}
_PLAIN = {"W_enc": "W_enc", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
_CLASSES: dict[str, dict[str, str]] = {
    "AutoEncoder": {**_LINEAR, "b_dec": "bias"},
    "AutoEncoderNew": {**_LINEAR, "b_dec": "decoder.bias"},
    "GatedAutoEncoder": {
        "W_enc": "encoder.weight",
        "W_dec": "decoder.weight",
        "b_dec": "decoder_bias",
        "r_mag": "r_mag",
        "b_gate": "gate_bias",
        "b_mag": "mag_bias",
    },
    "AutoEncoderTopK": _SLOTS,
    "BatchTopKSAE": _SLOTS,
    "MatryoshkaBatchTopKSAE": {
        **_PLAIN,
        "k": "k",
        "threshold": "threshold",
        "group_sizes": "group_sizes",
    },
    "JumpReluAutoEncoder": {**_PLAIN, "threshold": "threshold"},
}
_NO_SUBTRACTION = ("AutoEncoderNew", "JumpReluAutoEncoder")


class DictionaryLearning(Format):
    """dictionary_learning."""

    about: ClassVar[str] = f"dictionary_learning: {AE} with {CONFIG}"

    def recognises(self, source: Path) -> bool:
        """By its two files."""
        return (source / AE).is_file() and (source / CONFIG).is_file()

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See the steps above."""
        trainer = fmt.read_settings(source / CONFIG).get("trainer", {})
        kind = trainer.get("dict_class")
        fmt.only(kind, _CLASSES, "dict_class", source / CONFIG)
        found = self._weights(source, kind)
        k = int(found.pop("k")) if "k" in found else trainer.get("k")
        found.pop("group_sizes", None)
        if kind == "AutoEncoderTopK":
            found.pop("threshold")
        layer = trainer.get("layer")
        said = f"trainer.layer {layer}, submodule {trainer.get('submodule_name')}"
        site = None if layer is None or trainer.get("submodule_name") else f"resid_post.{layer}"
        places = told(asked, (site, site), source, said)
        return fmt.made(
            found, places, asked, source, self.name, subtract=kind not in _NO_SUBTRACTION, k=k
        )

    def _weights(self, source: Path, kind: str) -> Weights:
        """In our layout."""
        state = fmt.read_pickle(source / AE)
        if isinstance(state, Mapping) and set(state) == {"ae"}:
            state = state["ae"]
        if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
            raise InputError(f"{source / AE} is no state_dict", expected="tensors by name")
        raw = {key: value.float() for key, value in state.items()}
        names = dict(_CLASSES[kind])
        for late in ("k", "threshold"):  # older files have neither
            if names.get(late) not in raw and kind == "AutoEncoderTopK":
                names.pop(late, None)
                raw.pop(late, None)
        if kind == "AutoEncoderTopK":
            raw.setdefault("threshold", torch.tensor(-1.0))
            names["threshold"] = "threshold"
        found = fmt.take(raw, names, source / AE)
        if names["W_enc"] == "W_enc":
            found["W_enc"] = found["W_enc"].T.contiguous()
        else:
            found["W_dec"] = found["W_dec"].T.contiguous()
        if kind == "GatedAutoEncoder":
            parts = (found.pop(key) for key in ("b_gate", "r_mag", "b_mag"))
            found |= fmt.gated_as_threshold(found["W_enc"], *parts)
        if kind in ("AutoEncoder", "AutoEncoderNew"):
            found["threshold"] = torch.zeros_like(found["b_enc"])
        if "threshold" in found:
            found["threshold"] = found["threshold"].expand(found["b_enc"].shape).contiguous()
        if kind == "AutoEncoder":
            norms = found["W_dec"].norm(dim=1)
            found["W_dec"] = found["W_dec"] / norms[:, None]
            found["W_enc"], found["b_enc"] = found["W_enc"] * norms[:, None], found["b_enc"] * norms
        return found

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """TopK as AutoEncoderTopK, thresholds as JumpReluAutoEncoder."""
        config = dictionary.config
        fmt.refuse_normalized(dictionary, self.name)
        if config.transcoder:
            raise InputError(
                f"{dictionary.name} is a transcoder",
                expected=f"an autoencoder: {self.name} holds no other",
            )
        topk = config.kind == "topk" and config.subtract_b_dec
        trainer: dict[str, Any] = {
            "dict_class": "AutoEncoderTopK" if topk else "JumpReluAutoEncoder",
            "activation_dim": config.d_in,
            "dict_size": config.d_dict,
            "k": config.k,
            "layer": _layer(config.site_in),
        }
        if not config.site_in.startswith("resid_post."):
            trainer["submodule_name"] = config.site_in
        if topk:
            weights = dictionary.weights
            state = {
                "encoder.weight": weights["W_enc"],
                "encoder.bias": weights["b_enc"],
                "decoder.weight": weights["W_dec"].T,
                "b_dec": weights["b_dec"],
                "k": torch.tensor(config.k, dtype=torch.int),
                "threshold": torch.tensor(-1.0),
            }
        elif config.kind == "topk":
            raise InputError(
                f"{dictionary.name} does not subtract b_dec",
                expected=f"one that does: a TopK dictionary of {self.name} always subtracts it",
            )
        else:
            state = {**fmt.without_subtraction(dictionary)}
            state["W_enc"] = state["W_enc"].T
        torch.save({k: v.cpu().contiguous() for k, v in state.items()}, folder / AE)
        (folder / CONFIG).write_text(json.dumps({"trainer": trainer, "buffer": {}}, indent=1))


def _layer(site: str) -> int | None:
    layer = site.rpartition(".")[2]
    return int(layer) if layer.isdigit() else None
