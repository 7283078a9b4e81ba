"""GPT-NeoX (Pythia): parallel attention, queries, keys and values fused head by head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inscape.model.adapters.base import Adapter


def _detach_query_key(config: Any, qkv: Tensor) -> Tensor:
    heads = qkv.reshape(*qkv.shape[:-1], config.num_attention_heads, -1)
    query, key, value = heads.chunk(3, dim=-1)
    return torch.cat([query.detach(), key.detach(), value], dim=-1).flatten(-2)


def _parallel(config: Any) -> bool:
    return bool(config.use_parallel_residual)


ADAPTER = Adapter(
    model_type="gpt_neox",
    layers="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    attn="attention",
    query_key=(),
    qkv="attention.query_key_value",
    detach_query_key=_detach_query_key,
    parallel=_parallel,
)
