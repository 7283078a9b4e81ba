"""Phi-3: llama's layout, queries, keys and values fused side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inscape.model.adapters.base import Adapter


def _detach_query_key(config: Any, qkv: Tensor) -> Tensor:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    num_query_key = (config.num_attention_heads + config.num_key_value_heads) * head_dim
    return torch.cat([qkv[..., :num_query_key].detach(), qkv[..., num_query_key:]], dim=-1)


ADAPTER = Adapter(
    model_type="phi3", query_key=(), qkv="self_attn.qkv_proj", detach_query_key=_detach_query_key
)
