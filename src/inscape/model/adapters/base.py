"""What inscape must know of a model family: where its parts are and how they are joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


def never(config: Any) -> bool:
    """For families whose attention and MLP always follow each other."""
    return False


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The structure of one model family. Paths are dotted module names.

    The defaults describe a pre-norm family laid out like llama; a family's file states
    only what differs. Paths of blocks are relative to the block.

    Args:
        model_type: the family's `model_type` in config.json.
        layers: the list of blocks.
        final_norm: the norm whose output the head reads.
        head: the linear map to the vocabulary.
        attn: the attention (its output, or the first of its outputs, is what it computes).
        mlp: the MLP.
        attn_norm: the norm before the attention; None if it reads the residual stream bare.
        mlp_norm: the norm before the MLP; None if it reads the residual stream bare.
        attn_post_norm: the norm between the attention and its addition to the stream.
        mlp_post_norm: the norm between the MLP and its addition to the stream.
        query_key: the projections to queries and to keys, where they are modules of their
            own; empty where one module computes queries, keys and values.
        qkv: that fused module.
        detach_query_key: for fused families, (config, output of `qkv`) -> the same values
            without gradient through queries and keys.
        norm_offset: added to the norms' weights (1.0 where they store weight - 1).
        parallel: from the config, whether attention and MLP both read the block's input.
        inner: of an image-text family, where its language model is; that model's own family,
            which `text_config` names, then says what is in it.
    """

    model_type: str
    layers: str = "model.layers"
    final_norm: str = "model.norm"
    head: str = "lm_head"
    attn: str = "self_attn"
    mlp: str = "mlp"
    attn_norm: str | None = "input_layernorm"
    mlp_norm: str | None = "post_attention_layernorm"
    attn_post_norm: str | None = None
    mlp_post_norm: str | None = None
    query_key: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj")
    qkv: str | None = None
    detach_query_key: Callable[[Any, Tensor], Tensor] | None = None
    norm_offset: float = 0.0
    parallel: Callable[[Any], bool] = never
    inner: str | None = None
