"""OpenAI's sparse_autoencoder: one .pt file with a state_dict.

1. x is normalised for each token where the activation is TopK: (x - mean) / (std + 1e-5), undone in
   the reconstruction.
2. pre = (x - pre_bias) @ encoder^T + latent_bias; code = TopK or ReLU of it; the reconstruction is
   code @ decoder^T + pre_bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.exchange import format as fmt
from inscape.exchange.format import Asked, Format

_TENSORS = {
    **{"W_enc": "encoder.weight", "b_enc": "latent_bias"},
    **{"W_dec": "decoder.weight.T", "b_dec": "pre_bias"},
}
_TRAINED = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")


class OpenAI(Format):
    """OpenAI's sparse_autoencoder."""

    about = "OpenAI's sparse_autoencoder: a .pt file with pre_bias and latent_bias"

    def recognises(self, source: Path) -> bool:
        return source.is_file() and source.suffix == ".pt" and not source.name.endswith(".sae.pt")

    def read(self, source: Path, asked: Asked) -> Dictionary:
        state = fmt.read_pickle(source)
        if not isinstance(state, Mapping) or "pre_bias" not in state:
            raise InputError(f"{source} has no pre_bias", expected="a state_dict of this format")
        activation = str(state.get("activation", "ReLU"))
        fmt.only(activation, ["ReLU", "TopK"], "activation", source)
        settings = dict(state.get("activation_state_dict") or {})
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        raw = {key: value.float() for key, value in tensors.items() if key not in _TRAINED}
        found, more = fmt.take(raw, _TENSORS, source), dict[str, Any]()
        if activation == "TopK":
            fmt.only(str(settings.get("postact_fn", "ReLU")), ["ReLU"], "postact_fn", source)
            more = {"k": int(settings["k"]), "normalize": "layer_norm"}
        else:
            found["threshold"] = torch.zeros(())
        sites, said = (None, None), "it never does"
        return self.made(found, source, asked, sites, said, subtract=True, **more)
