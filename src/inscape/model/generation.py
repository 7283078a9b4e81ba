"""Continuing a text, greedily or by sampling, with edits in force at every step.

1. The text goes through the model once, under the edits; keys and values are kept in a cache.
2. Each new token then goes through alone, under the same edits: what a `PositionEdit` does at a
   position does not depend on later ones, nor does causal attention, so nothing before it changes.
3. Other edits see the whole text anew at every step, without a cache; so do models that have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inscape.core import InputError, finite_number, whole
from inscape.model.forward import Edit, HookedPass, PositionEdit
from inscape.model.inputs import Inputs
from inscape.model.sites import Site

if TYPE_CHECKING:
    from inscape.model.model import Model

# A turn that a chat template is asked to write; what it puts behind the answer ends a turn.
_ANSWER = "inscape-answer"
_TURN = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _ANSWER}]


def check_settings(max_new_tokens: Any, temperature: Any, seed: Any) -> None:
    """InputError unless these are what `Model.generate` takes."""
    whole(max_new_tokens, "number of new tokens", 0)
    whole(seed, "the seed", -(2**63), 2**63 - 1)
    if finite_number(temperature, "a temperature") < 0:
        raise InputError(f"a temperature of {temperature}", expected="0 (greedy) or more")


def generate(
    model: Model,
    given: Inputs,
    max_new_tokens: int,
    *,
    edits: Mapping[Site, Sequence[Edit]],
    temperature: float,
    seed: int,
) -> Tensor:
    """See `Model.generate`; the inputs and the sites of `edits` are already checked."""
    tokens = given.tokens
    length = tokens.shape[1] + max_new_tokens
    random = torch.Generator().manual_seed(seed)
    ends = torch.tensor(model.end_ids, device=tokens.device)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    last_end = tokens[:, -1]
    cached = all(
        isinstance(edit, PositionEdit) and edit.fixed for chain in edits.values() for edit in chain
    )
    cache: Any = None
    for step in range(max_new_tokens):
        logits, cache = _step(model, replace(given, tokens=tokens), length, edits, cache, cached)
        if not bool(logits[~ended].amax(-1).isfinite().all()):
            raise InputError(
                f"the logits of {model.name} are not finite at new token {step + 1}",
                next_step="lower the strength of the edit"
                if edits
                else "check the model's weights, or open it in another dtype",
            )
        new = _choose(logits, temperature, random).to(tokens.device)
        new = torch.where(ended, last_end, new)
        tokens = torch.cat([tokens, new[:, None]], dim=1)
        last_end = torch.where(ended, last_end, new)
        ended |= torch.isin(new, ends)
        if bool(ended.all()):
            break
    return tokens


def _step(
    model: Model,
    given: Inputs,
    length: int,
    edits: Mapping[Site, Sequence[Edit]],
    cache: Any,
    cached: bool,
) -> tuple[Tensor, Any]:
    """The logits [batch, vocab] after the last token (not finite where the residual stream has no
    finite norm there, which the model's norms would turn into the same logits for any text), and
    the cache for the next step."""
    tokens, pixels = given.tokens, given.pixel_values
    new = tokens if cache is None else tokens[:, -1:]
    inputs: dict[str, Any] = {"input_ids": new, "use_cache": cached, "logits_to_keep": 1}
    if cache is not None:
        inputs["past_key_values"] = cache
    elif pixels is not None:  # afterwards the pictures are in the cache
        inputs["pixel_values"] = pixels
    now = model.passing(given, tokens.shape[1] - new.shape[1], length) if edits else None
    stream = Site("resid_post", model.num_layers - 1)
    hooked = HookedPass(model.structure, [stream] if edits else [], edits, stop=False, now=now)
    with torch.no_grad():
        output = hooked(lambda: model.module(**inputs))
    logits = output.logits[:, -1].float()
    if edits:
        norm = hooked.acts[stream][:, -1].float().square().sum(-1, keepdim=True)
        logits = logits.masked_fill(~norm.isfinite().to(logits.device), torch.nan)
    return logits, getattr(output, "past_key_values", None)


def _choose(logits: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    # On the CPU, so that a seed gives the same text with or without a GPU; below the largest,
    # in double precision, so that the smallest temperature is greedy instead of infinite.
    scaled = logits.cpu().double()
    scaled = (scaled - scaled.amax(-1, keepdim=True)) / temperature
    return torch.multinomial(scaled.softmax(-1), 1, generator=random)[:, 0]


def end_ids(model: Model) -> list[int]:
    """See `Model.end_ids`."""
    module: Any = model.module
    tokenizer, settings = model.tokenizer, getattr(module, "generation_config", None)
    found: set[Any] = set()
    for owner in (module.config, model.structure.config, settings, tokenizer):
        end = getattr(owner, "eos_token_id", None)
        found |= set(end if isinstance(end, list | tuple) else [end])
    return sorted(i for i in found | _turn_end(tokenizer) if isinstance(i, int))


def _turn_end(tokenizer: Any) -> set[int]:
    if not getattr(tokenizer, "chat_template", None):
        return set()
    try:
        _, _, rest = tokenizer.apply_chat_template(_TURN, tokenize=False).rpartition(_ANSWER)
    except Exception:  # templates are programs: this one refuses such a turn, in its own way
        return set()
    after = tokenizer.encode(rest.lstrip(), add_special_tokens=False)[:1]
    return set(after) & set(tokenizer.all_special_ids)
