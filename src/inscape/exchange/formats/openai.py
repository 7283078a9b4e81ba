"""OpenAI's sparse_autoencoder: one .pt file with a state_dict.

1. x is normalised for each token where the activation is TopK: (x - mean) / (std + 1e-5), undone in
   the reconstruction.
2. pre = (x - pre_bias) @ encoder^T + latent_bias; code = TopK or ReLU of it; the reconstruction is
   code @ decoder^T + pre_bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format
from inscape.exchange.sites import told

_TENSORS = {
    "W_enc": "encoder.weight",
    "b_enc": "latent_bias",
    "W_dec": "decoder.weight",
    "b_dec": "pre_bias",
}
_TRAINED = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")


class OpenAI(Format):
    """OpenAI's sparse_autoencoder."""

    about: ClassVar[str] = "OpenAI's sparse_autoencoder: a .pt file with pre_bias and latent_bias"

    def recognises(self, source: Path) -> bool:
        """A single .pt file; what it holds is looked at when it is read."""
        return source.is_file() and source.suffix == ".pt" and not source.name.endswith(".sae.pt")

    def read(self, source: Path, asked: Asked) -> Dictionary:
        """See the steps above."""
        state = fmt.read_pickle(source)
        if not isinstance(state, Mapping) or "pre_bias" not in state:
            raise InputError(f"{source} has no pre_bias", expected="a state_dict of this format")
        activation = str(state.get("activation", "ReLU"))
        fmt.only(activation, ["ReLU", "TopK"], "activation", source)
        settings = dict(state.get("activation_state_dict") or {})
        raw = {
            key: value.float()
            for key, value in state.items()
            if isinstance(value, Tensor) and key not in _TRAINED
        }
        found = fmt.take(raw, _TENSORS, source)
        found["W_dec"] = found["W_dec"].T.contiguous()
        k = None
        if activation == "TopK":
            fmt.only(str(settings.get("postact_fn", "ReLU")), ["ReLU"], "postact_fn", source)
            k = int(settings["k"])
        else:
            found["threshold"] = torch.zeros_like(found["b_enc"])
        places = told(asked, (None, None), source, "it never does")
        return fmt.made(
            found,
            places,
            asked,
            source,
            self.name,
            subtract=True,
            k=k,
            normalize="layer_norm" if activation == "TopK" else "none",
        )
