"""dictionary_learning: a folder with ae.pt (a state_dict) and config.json.

1. config.json names the class (trainer.dict_class); tensors follow from it.
2. AutoEncoder, gated, TopK, BatchTopK and Matryoshka subtract the decoder's bias; AutoEncoderNew
   and JumpReluAutoEncoder do not.
3. BatchTopK and Matryoshka are thresholds when they are used; a threshold of -1 was never set, and
   lets everything positive through. TopK chooses per token, whatever its stored threshold.
4. AutoEncoder's loader brings decoder rows to unit norm, and the encoder takes their lengths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format, Weights
from inscape.model import Site

AE, CONFIG = "ae.pt", "config.json"
_LINEAR = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight.T"}
_SLOTS = {**_LINEAR, "b_dec": "b_dec", "k": "k", "threshold": "threshold"}
_PLAIN = {"W_enc": "W_enc.T", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
_JUMP = {**_PLAIN, "threshold": "threshold"}
_CLASSES: dict[str, dict[str, str]] = {
    "AutoEncoder": {**_LINEAR, "b_dec": "bias"},
    "AutoEncoderNew": {**_LINEAR, "b_dec": "decoder.bias"},
    "GatedAutoEncoder": {
        **{"W_enc": "encoder.weight", "W_dec": "decoder.weight.T", "b_dec": "decoder_bias"},
        **{"r_mag": "r_mag", "b_gate": "gate_bias", "b_mag": "mag_bias"},
    },
    "AutoEncoderTopK": {**_SLOTS, "k": "k?", "threshold": "threshold?"},  # older files have neither
    "BatchTopKSAE": _SLOTS,
    "MatryoshkaBatchTopKSAE": {**_JUMP, "k": "k", "group_sizes": "group_sizes"},
    "JumpReluAutoEncoder": _JUMP,
}
_NO_SUBTRACTION = ("AutoEncoderNew", "JumpReluAutoEncoder")


class DictionaryLearning(Format):
    """dictionary_learning."""

    about = f"dictionary_learning: {AE} with {CONFIG}"
    files = (AE, CONFIG)

    def read(self, source: Path, asked: Asked) -> Dictionary:
        trainer = fmt.read_settings(source / CONFIG).get("trainer", {})
        kind = trainer.get("dict_class")
        fmt.only(kind, _CLASSES, "dict_class", source / CONFIG)
        found = self._weights(source, kind)
        k = int(found.pop("k")) if "k" in found else trainer.get("k")
        found.pop("group_sizes", None)
        if kind == "AutoEncoderTopK":
            found.pop("threshold", None)
        layer = trainer.get("layer")
        said = f"trainer.layer {layer}, submodule {trainer.get('submodule_name')}"
        site = None if layer is None or trainer.get("submodule_name") else f"resid_post.{layer}"
        subtract = kind not in _NO_SUBTRACTION
        return self.made(found, source, asked, (site, site), said, subtract=subtract, k=k)

    def _weights(self, source: Path, kind: str) -> Weights:
        """In our layout."""
        found = fmt.take(fmt.read_state(source / AE), _CLASSES[kind], source / AE)
        if kind in ("AutoEncoder", "AutoEncoderNew"):
            found["threshold"] = torch.zeros(())
        if kind == "AutoEncoder":
            norms = found["W_dec"].norm(dim=1)
            found["W_dec"] = found["W_dec"] / norms[:, None]
            found["W_enc"], found["b_enc"] = found["W_enc"] * norms[:, None], found["b_enc"] * norms
        return found

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """TopK as AutoEncoderTopK, thresholds as JumpReluAutoEncoder."""
        config = dictionary.config
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
            "layer": Site.parse(config.site_in).layer,
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
        fmt.save_settings({"trainer": trainer, "buffer": {}}, folder / CONFIG)
