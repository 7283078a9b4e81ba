"""Where the parts of each family are, written by hand from the modelling code.

Nothing here comes from the room under test: its adapters are held against this table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Raw module paths; `{}` is the layer. `mlp_path` are the modules from the stream
    through the MLP back to the stream, `norms` those on the stream within a block."""

    blocks: str
    final: str
    attn_added: str
    mlp: str
    mlp_path: tuple[str, ...]
    norms: tuple[str, ...]
    heads: str
    down: str
    scores: tuple[str, ...]
    keep_values: Callable[[Tensor, Tensor], Tensor] | None = None
    unit_offset: float = 0.0
    parallel: bool = False

    @property
    def mlp_added(self) -> str:
        return self.mlp_path[-1]


def _gpt2_values(fresh: Tensor, held: Tensor) -> Tensor:
    d = fresh.shape[-1] // 3
    return torch.cat([held[..., : 2 * d], fresh[..., 2 * d :]], -1)


def _phi3_values(fresh: Tensor, held: Tensor) -> Tensor:
    queries_and_keys = (4 + 2) * 8  # 4 heads, 2 key heads, 8 wide
    return torch.cat([held[..., :queries_and_keys], fresh[..., queries_and_keys:]], -1)


def _neox_values(fresh: Tensor, held: Tensor) -> Tensor:
    out = held.clone()
    for head in range(4):  # each head's 8 queries, 8 keys and 8 values lie together
        out[..., head * 24 + 16 : head * 24 + 24] = fresh[..., head * 24 + 16 : head * 24 + 24]
    return out


def _like_llama(**over: Any) -> Raw:
    b = "model.layers.{}"
    parts: dict[str, Any] = {
        "blocks": b,
        "final": "model.norm",
        "attn_added": f"{b}.self_attn",
        "mlp": f"{b}.mlp",
        "mlp_path": (f"{b}.post_attention_layernorm", f"{b}.mlp"),
        "norms": (f"{b}.input_layernorm", f"{b}.post_attention_layernorm"),
        "heads": f"{b}.self_attn.o_proj",
        "down": f"{b}.mlp.down_proj",
        "scores": (f"{b}.self_attn.q_proj", f"{b}.self_attn.k_proj"),
    }
    return Raw(**{**parts, **over})


def _gemma_with_post_norms(b: str = "model.layers.{}", final: str = "model.norm") -> Raw:
    return _like_llama(
        blocks=b,
        final=final,
        attn_added=f"{b}.post_attention_layernorm",
        mlp=f"{b}.mlp",
        mlp_path=(f"{b}.pre_feedforward_layernorm", f"{b}.mlp", f"{b}.post_feedforward_layernorm"),
        norms=(
            f"{b}.input_layernorm",
            f"{b}.post_attention_layernorm",
            f"{b}.pre_feedforward_layernorm",
            f"{b}.post_feedforward_layernorm",
        ),
        scores=(f"{b}.self_attn.q_proj", f"{b}.self_attn.k_proj"),
        unit_offset=1.0,
    )


def _like_gpt2(**over: Any) -> Raw:
    b = "transformer.h.{}"
    return Raw(
        blocks=b,
        final="transformer.ln_f",
        attn_added=f"{b}.attn",
        mlp=f"{b}.mlp",
        mlp_path=(f"{b}.ln_2", f"{b}.mlp"),
        norms=(f"{b}.ln_1", f"{b}.ln_2"),
        down=f"{b}.mlp.c_proj",
        **over,
    )


RAW: dict[str, Raw] = {
    "gpt2": _like_gpt2(
        heads="transformer.h.{}.attn.c_proj",
        scores=("transformer.h.{}.attn.c_attn",),
        keep_values=_gpt2_values,
    ),
    "gpt_neo": _like_gpt2(
        heads="transformer.h.{}.attn.attention.out_proj",
        scores=("transformer.h.{}.attn.attention.q_proj", "transformer.h.{}.attn.attention.k_proj"),
    ),
    "gpt_neox": Raw(
        blocks="gpt_neox.layers.{}",
        final="gpt_neox.final_layer_norm",
        attn_added="gpt_neox.layers.{}.attention",
        mlp="gpt_neox.layers.{}.mlp",
        mlp_path=("gpt_neox.layers.{}.post_attention_layernorm", "gpt_neox.layers.{}.mlp"),
        norms=("gpt_neox.layers.{}.input_layernorm", "gpt_neox.layers.{}.post_attention_layernorm"),
        heads="gpt_neox.layers.{}.attention.dense",
        down="gpt_neox.layers.{}.mlp.dense_4h_to_h",
        scores=("gpt_neox.layers.{}.attention.query_key_value",),
        keep_values=_neox_values,
        parallel=True,
    ),
    "llama": _like_llama(),
    "mistral": _like_llama(),
    "qwen2": _like_llama(),
    "qwen3": _like_llama(),
    "gemma": _like_llama(unit_offset=1.0),
    "gemma2": _gemma_with_post_norms(),
    "gemma3_text": _gemma_with_post_norms(),
    "phi3": _like_llama(scores=("model.layers.{}.self_attn.qkv_proj",), keep_values=_phi3_values),
    "olmo2": _like_llama(
        attn_added="model.layers.{}.post_attention_layernorm",
        mlp_path=("model.layers.{}.mlp", "model.layers.{}.post_feedforward_layernorm"),
        norms=(
            "model.layers.{}.post_attention_layernorm",
            "model.layers.{}.post_feedforward_layernorm",
        ),
    ),
}


def part(module: nn.Module, path: str, layer: int | None = None) -> nn.Module:
    """The submodule at `path`."""
    return module.get_submodule(path if layer is None else path.format(layer))


def first(output: Any) -> Tensor:
    """A module's output, or the first of its outputs."""
    return output[0] if isinstance(output, tuple) else output


def with_first(output: Any, new: Tensor) -> Any:
    """`output` with its first (or only) tensor replaced."""
    return (new, *output[1:]) if isinstance(output, tuple) else new
