"""Gemma 3: norms before and after attention and MLP, normed queries and keys.

Text models are of type `gemma3_text`. A `gemma3` checkpoint holds an image tower beside
the same text model; it is opened whole and run on text.
"""

from dataclasses import replace

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(
    model_type="gemma3_text",
    mlp_norm="pre_feedforward_layernorm",
    attn_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    norm_offset=1.0,
)
WITH_IMAGES = replace(
    ADAPTER,
    model_type="gemma3",
    layers="model.language_model.layers",
    final_norm="model.language_model.norm",
)
