"""GPT-Neo: learned positions, every other attention local."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(
    model_type="gpt_neo",
    layers="transformer.h",
    final_norm="transformer.ln_f",
    attn="attn",
    attn_norm="ln_1",
    mlp_norm="ln_2",
    query_key=("attn.attention.q_proj", "attn.attention.k_proj"),
)
