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


def tiny(family: str, *, seed: int = 0, **over: Any) -> nn.Module:
    """A causal language model of `family`: fp32, evaluation mode, seeded random weights.

    Vocabulary 97, d_model 32, 3 layers, context 64; BOS is token 1. `over` replaces
    settings of the family's config; a family that is not among TINY_FAMILIES has these
    alone. Weights (norms and biases too) are drawn large enough that every part of the model
    matters to its output.
    """
    config = transformers.AutoConfig.for_model(family, **{**_SETTINGS.get(family, {}), **over})
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
