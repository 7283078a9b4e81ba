"""Continuing a text, greedily or by sampling, with edits in force at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inscape.model.images import Inputs

if TYPE_CHECKING:
    from inscape.model.model import Model


def generate(
    model: Model,
    given: Inputs,
    max_new_tokens: int,
    *,
    edits: Mapping[Any, Any] | None,
    temperature: float,
    seed: int,
) -> Tensor:
    """See `Model.generate`; the inputs are already checked."""
    given = replace(given, length=given.tokens.shape[1] + max_new_tokens)
    tokens = given.tokens
    random = torch.Generator().manual_seed(seed)
    ends = _end_ids(model)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    last_end = tokens[:, -1]
    cache: Any = None
    for _ in range(max_new_tokens):
        if edits:
            logits = model.run(replace(given, tokens=tokens), edits=edits, logits="last").logits
            assert logits is not None
        else:
            logits, cache = _cached_step(model, tokens, given.pixel_values, cache)
        new = _choose(logits[:, -1], temperature, random).to(tokens.device)
        new = torch.where(ended, last_end, new)
        tokens = torch.cat([tokens, new[:, None]], dim=1)
        if ends:
            last_end = torch.where(ended, last_end, new)
            ended |= torch.isin(new, torch.tensor(ends, device=new.device))
            if bool(ended.all()):
                break
    return tokens


def _cached_step(
    model: Model, tokens: Tensor, pixels: Tensor | None, cache: Any
) -> tuple[Tensor, Any]:
    new = tokens if cache is None else tokens[:, -1:]
    # The pictures are in the cache after the first step.
    pictures = {} if pixels is None or cache is not None else {"pixel_values": pixels}
    with torch.inference_mode():
        output = model.module(
            input_ids=new, past_key_values=cache, use_cache=True, logits_to_keep=1, **pictures
        )
    return output.logits.float(), output.past_key_values


def _choose(logits: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    if temperature <= 0:
        return logits.argmax(-1)
    # On the CPU, so that a seed gives the same text with or without a GPU.
    probabilities = (logits.cpu() / temperature).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=random)[:, 0]


def _end_ids(model: Model) -> list[int]:
    end = model.structure.config.eos_token_id
    settings = getattr(model.module, "generation_config", None)
    end = getattr(settings, "eos_token_id", None) if end is None else end
    if end is None:
        return []
    return [int(i) for i in (end if isinstance(end, list | tuple) else [end])]
