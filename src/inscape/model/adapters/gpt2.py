"""GPT-2: learned positions, fused queries, keys and values side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inscape.model.adapters.base import Adapter


def _detach_query_key(config: Any, qkv: Tensor) -> Tensor:
    query, key, value = qkv.chunk(3, dim=-1)
    return torch.cat([query.detach(), key.detach(), value], dim=-1)


ADAPTER = Adapter(
    model_type="gpt2",
    layers="transformer.h",
    final_norm="transformer.ln_f",
    attn="attn",
    attn_norm="ln_1",
    mlp_norm="ln_2",
    query_key=(),
    qkv="attn.c_attn",
    detach_query_key=_detach_query_key,
)
