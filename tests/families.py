"""Tiny random-weight models of every family, for everybody's tests."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn

VOCAB_SIZE = 97
D_MODEL = 32
NUM_LAYERS = 3

_COMMON: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2}
_PADLESS: dict[str, Any] = {**_COMMON, "pad_token_id": None}
_LLAMA: dict[str, Any] = {
    **_PADLESS,
    "hidden_size": D_MODEL,
    "intermediate_size": 64,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
_SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
_GEMMA: dict[str, Any] = {**_LLAMA, "head_dim": 8}
_NEOX: dict[str, Any] = {k: v for k, v in _LLAMA.items() if k != "num_key_value_heads"}

_SETTINGS: dict[str, dict[str, Any]] = {
    "gpt2": {**_PADLESS, "n_embd": D_MODEL, "n_layer": NUM_LAYERS, "n_head": 4, "n_positions": 64},
    "gpt_neo": {
        **_PADLESS,
        "hidden_size": D_MODEL,
        "num_layers": NUM_LAYERS,
        "num_heads": 4,
        "attention_types": [[["global", "local", "global"], 1]],
        "window_size": 4,
        "max_position_embeddings": 64,
    },
    "gpt_neox": _NEOX,
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": 4},
    "qwen2": {**_LLAMA, "use_sliding_window": True, "sliding_window": 4, "layer_types": _SLIDING},
    "qwen3": {**_LLAMA, "head_dim": 8},
    "gemma": _GEMMA,
    "gemma2": {
        **_GEMMA,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "layer_types": _SLIDING,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text": {
        **_GEMMA,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "layer_types": _SLIDING,
    },
    "phi3": _LLAMA,
    "olmo2": _LLAMA,
}
TINY_FAMILIES: tuple[str, ...] = tuple(_SETTINGS)
"""Families whose parts tests/model/raw.py names by hand."""

# Families spell the same things in many ways; what one does not know it keeps unused.
_EXPERTS: dict[str, Any] = {
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts_per_tok", "moe_k"), 2),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1),
}
_MOE = {**_LLAMA, **_EXPERTS}
_LATENT = {
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"), 8),
    "num_key_value_heads": 4,
}
_MOE_HEADS = {**_MOE, "head_dim": 8}
_MOE_LATENT = {**_MOE, **_LATENT}
_ONE_KEY_HEAD = {**_NEOX, "rotary_dim": 4, "n_positions": 64}
_FALCON = {k: v for k, v in _NEOX.items() if k != "intermediate_size"}
_LINEAR = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_DELTA_NET: dict[str, Any] = {
    **{**_MOE, "head_dim": 8},
    **{**_LINEAR, "linear_num_value_heads": 4, "linear_num_key_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
}
_MAMBA: dict[str, Any] = {
    **{**_NEOX, "num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1},
    **{"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8},
}
_PER_LAYER = {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCAB_SIZE}
_MPT = {**_NEOX, "d_model": D_MODEL, "n_heads": 4, "n_layers": NUM_LAYERS, "max_seq_len": 64}

_FOUND: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("apertus", "arcee", "biogpt", "bitnet", "bloom", "cohere", "cohere2"), _LLAMA),
    **dict.fromkeys(("cwm", "diffllama", "ernie4_5", "exaone4", "gpt_bigcode", "jais2"), _LLAMA),
    **dict.fromkeys(("granite_swa", "hyperclovax", "internlm3", "ministral3"), _LLAMA),
    **dict.fromkeys(("nemotron", "olmo", "olmo3"), _LLAMA),
    **dict.fromkeys(("persimmon", "phi", "seed_oss", "smollm3", "stablelm", "starcoder2"), _LLAMA),
    **dict.fromkeys(("glm", "glm4", "vaultgemma", "gemma4_unified_text"), _GEMMA),
    **dict.fromkeys(("helium", "hunyuan_v1_dense", "ministral"), _GEMMA),
    **dict.fromkeys(("aria_text", "cohere2_moe", "dots1", "ernie4_5_moe", "exaone_moe"), _MOE),
    **dict.fromkeys(("granitemoe", "granitemoeshared", "hy_v3", "mellum"), _MOE),
    **dict.fromkeys(("flex_olmo", "llama4_text", "mimo_v2_flash", "mixtral", "olmoe"), _MOE),
    **dict.fromkeys(("phimoe", "qwen2_moe"), _MOE),
    **dict.fromkeys(("afmoe", "glm4_moe", "gpt_oss", "hunyuan_v1_moe"), _MOE_HEADS),
    **dict.fromkeys(("minimax_m2", "qwen3_moe", "solar_open"), _MOE_HEADS),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "youtu"), _MOE_LATENT),
    "deepseek_v32": {**_MOE_LATENT, **{"index_head_dim": 8, "index_n_heads": 2, "index_topk": 4}},
    "minicpm3": {**_LLAMA, **_LATENT, "scale_depth": 1.4, "dim_model_base": 8},
    **dict.fromkeys(("codegen", "gptj"), _ONE_KEY_HEAD),
    **dict.fromkeys(("ctrl", "mpt"), _MPT),
    "falcon": _FALCON,
    "gemma4_text": {**_GEMMA, "global_head_dim": 8, "hidden_size_per_layer_input": 0},
    "gemma3n_text": {
        **{**_GEMMA, **_PER_LAYER, "layer_types": ["full_attention"] * 3, "laurel_rank": 4},
        **{"altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 3},
        "num_kv_shared_layers": 1,
    },
    "jetmoe": {**_MOE, "kv_channels": 8, "num_key_value_heads": 4, "num_attention_heads": 8},
    "granite": {
        **{**_LLAMA, "residual_multiplier": 0.22, "logits_scaling": 8.0},
        **{"embedding_multiplier": 12.0, "attention_multiplier": 0.2},
    },
    "opt": {**_NEOX, "ffn_dim": 64, "word_embed_proj_dim": D_MODEL},
    "qwen3_5_text": {**_GEMMA, "layer_types": ["full_attention"] * 3},
    "xglm": {**_NEOX, "ffn_dim": 64, "attention_heads": 4, "d_model": D_MODEL, "num_layers": 3},
}
TRACED_FAMILIES: tuple[str, ...] = (*_SETTINGS, *_FOUND)
"""Families that are opened whole and traced exactly."""
_LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3_5_text, linear attention": ("qwen3_5_text", {**_DELTA_NET, **_LINEAR}),
    "gemma4_text, per-layer inputs": ("gemma4_text", _PER_LAYER),
    "falcon, new decoder": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon, sequential": ("falcon", {"parallel_attn": False, "alibi": True}),
    "gpt_neox, sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "stablelm, parallel": ("stablelm", {"use_parallel_residual": True, "qk_layernorm": True}),
}
OTHER_LAYOUTS: tuple[str, ...] = tuple(name for name in _LAYOUTS if "linear" not in name)
"""Layouts of these families that a setting chooses."""
_MIXED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba"), _MAMBA),
    "jamba": {
        **{**_MOE, "attn_layer_period": 2, "attn_layer_offset": 1},
        **{"mamba_d_state": 8, "mamba_dt_rank": 4},
    },
    "nemotron_h": {
        **{**_MOE, "layers_block_type": ["mamba", "attention", "mlp"]},
        **{"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1},
    },
    "qwen3_next": _DELTA_NET,
    "qwen3_5_moe_text": _DELTA_NET,
    "recurrent_gemma": {
        **{**_LLAMA, "block_types": ["recurrent", "attention", "recurrent"]},
        **{"lru_width": D_MODEL, "attention_window_size": 8},
    },
    "xlstm": _LLAMA,
    "lfm2": {**_LLAMA, "layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {**_MOE, "layer_types": ["conv", "full_attention", "conv"]},
    "bert-generation": _NEOX,
}
UNTRACED_FAMILIES: tuple[str, ...] = (*_MIXED, "qwen3_5_text, linear attention")
"""Families with recurrent or convolutional blocks, or norms on the stream: read and edited."""


def tiny(family: str, *, seed: int = 0, **over: Any) -> nn.Module:
    """A causal language model of `family`: fp32, evaluation mode, seeded random weights.

    Vocabulary 97, d_model 32, 3 layers, context 64; BOS is token 1. `over` replaces
    settings of the family's config; a family that is in none of the lists has these alone.
    Weights (norms and biases too) are drawn large enough that every part of the model matters
    to its output.
    """
    family, layout = _LAYOUTS.get(family, (family, {}))
    settings = {**_SETTINGS, **_FOUND, **_MIXED}.get(family, {})
    config = transformers.AutoConfig.for_model(family, **{**settings, **layout, **over})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = transformers.AutoModelForCausalLM.from_config(config)
        _scramble(module)
    return module.float().eval().requires_grad_(False)


@torch.no_grad()
def _scramble(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        noise = torch.randn_like(parameter)
        if "norm" in name or ".ln_" in name:
            parameter.add_(0.2 * noise)
        elif parameter.ndim > 1 and not any(part in name for part in ("embed", "wte", "wpe")):
            parameter.copy_(noise / parameter.shape[-1] ** 0.5)
        else:
            parameter.copy_(0.3 * noise)


def tiny_tokenizer(
    vocab_size: int = 300, *, bos: bool = True, adds: bool = True, digits: bool = False
) -> Any:
    """A byte-level BPE tokenizer trained on a few words; any text encodes.

    Token 0 is <unk>, 1 is <s> (BOS where `bos`, put before a text where it `adds` it), 2 is </s>.
    With `digits` each digit is a token, and so is the space before it (SmolLM2's does so).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if digits:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), tokenizer.pre_tokenizer]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" the cat sat on the mat; the dog sat in Paris"] * 9, trainer)
    if bos and adds:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    special = {"bos_token": "<s>"} if bos else {}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", **special
    )
