"""Gemma 2: norms before and after attention and MLP, softcapped scores and logits."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(
    model_type="gemma2",
    mlp_norm="pre_feedforward_layernorm",
    attn_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    norm_offset=1.0,
)
