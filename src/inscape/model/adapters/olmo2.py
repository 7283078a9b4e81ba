"""OLMo 2: no norm before attention and MLP, one after each; normed queries and keys."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(
    model_type="olmo2",
    attn_norm=None,
    mlp_norm=None,
    attn_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)
