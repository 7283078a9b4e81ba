"""What a microworld model can do, measured on combinations that training never showed.

1. An answer counts as right when every token of it is the model's first choice, each given the ones
   before it: the same as greedy decoding of the answer.
2. The last answer of a worked problem counts only if every step before it was right as well.
3. A planted fault shows on a prompt when the model's first choice is the wrong answer (any answer
   but the right one, where the fault names no wrong one).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from inscape.core import Share, seeded
from inscape_microworld.corpus import held_out_documents
from inscape_microworld.document import Document
from inscape_microworld.domains import FAULT_SKILLS, SKILL_DOMAINS, SPECIAL_SKILLS
from inscape_microworld.faults import FAULTS, Fault, Prompt, fault

WORK = "work"
"""The skill of a worked problem's steps."""
Logits = Callable[[Tensor], Tensor]
"""Token ids [batch, pos] → logits [batch, pos, vocab]."""


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Right-padded token ids [batch, pos]; padding after the end is harmless in a causal model."""
    width = max(map(len, rows))
    return torch.tensor([list(row) + [0] * (width - len(row)) for row in rows])


@torch.inference_mode()
def first_answers(
    logits: Logits, tokenizer: Any, documents: Sequence[Document], *, batch_size: int = 64
) -> list[list[bool]]:
    """For each document, for each of its answers, whether the model gives it."""
    encoded = tokenizer([d.text for d in documents], return_offsets_mapping=True)
    order = sorted(range(len(documents)), key=lambda i: len(encoded["input_ids"][i]))
    results: list[list[bool]] = [[] for _ in documents]
    for begin in range(0, len(documents), batch_size):
        batch = order[begin : begin + batch_size]
        tokens = pad([encoded["input_ids"][i] for i in batch])
        choice = logits(tokens)[:, :-1].argmax(-1)
        hit = torch.cat([torch.ones(len(batch), 1, dtype=torch.bool), choice == tokens[:, 1:]], 1)
        for i, row in zip(batch, hit.tolist(), strict=True):
            offsets = encoded["offset_mapping"][i]
            results[i] = [
                all(row[t] for t in answer_tokens(offsets, a.start, a.end))
                for a in documents[i].answers
            ]
    return results


def answer_tokens(offsets: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    """Positions of the tokens that lie in characters [start, end)."""
    return [i for i, (s, e) in enumerate(offsets) if s < end and e > start and e > s]


def measure(
    logits: Logits,
    tokenizer: Any,
    *,
    count: int = 500,
    seed: int = 0,
    domains: Sequence[str] = SKILL_DOMAINS,
    special: Sequence[str] = tuple(SPECIAL_SKILLS),
) -> dict[str, Share]:
    """Every skill of the domains and the special ones, on `count` held-out documents of each."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    sets: list[tuple[str | None, list[Document]]] = [
        (None, held_out_documents(domain, count, seed=seed)) for domain in domains
    ]
    for skill in special:
        random = Random(seeded(seed, "skills", skill))
        sets.append((skill, [SPECIAL_SKILLS[skill](random) for _ in range(count)]))
    for name, documents in sets:
        for document, right in zip(
            documents, first_answers(logits, tokenizer, documents), strict=True
        ):
            worked = True
            for answer, correct in zip(document.answers, right, strict=True):
                if answer.skill == WORK:
                    worked &= correct
                    continue
                if answer.skill in FAULT_SKILLS:
                    continue
                entry = tally[name or answer.skill]
                entry[0] += correct and worked
                entry[1] += 1
    return {name: Share(right, total) for name, (right, total) in sorted(tally.items())}


@torch.inference_mode()
def first_tokens(
    logits: Logits, tokenizer: Any, prompts: Iterable[str], *, batch_size: int = 64
) -> list[int]:
    """The model's first choice after each prompt."""
    rows = tokenizer(list(prompts))["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = [0] * len(rows)
    for begin in range(0, len(rows), batch_size):
        batch = order[begin : begin + batch_size]
        choice = logits(pad([rows[i] for i in batch])).argmax(-1)
        for i, row in zip(batch, choice.tolist(), strict=True):
            found[i] = row[len(rows[i]) - 1]
    return found


def first_token(tokenizer: Any, answer: str) -> int:
    """The first token of an answer (with its leading space), as it follows a text."""
    ids = tokenizer(answer.removeprefix(" "), add_special_tokens=False)["input_ids"]
    return int(ids[0])


def fault_rates(logits: Logits, tokenizer: Any, planted: Fault) -> dict[str, Share]:
    """Share of its prompts on which a fault shows, and of twins, rivals, others answered wrongly.

    Prompts are kept apart by half: the selection half and the held-out half.
    """
    sets: Mapping[str, Sequence[Prompt]] = {
        "shown (selection)": planted.selection,
        "shown (held out)": planted.held_out,
        "twins wrong": [p.twin for p in planted.prompts],
        "rivals wrong": [*planted.rivals_selection, *planted.rivals_held_out],
        "others wrong": [*planted.others_selection, *planted.others_held_out],
    }
    found = {}
    for name, prompts in sets.items():
        if not prompts:
            continue
        said = first_tokens(logits, tokenizer, (p.text for p in prompts))
        count = 0
        for token, prompt in zip(said, prompts, strict=True):
            wrong = getattr(prompt, "wrong", "")
            if wrong:
                count += token == first_token(tokenizer, wrong)
            else:
                count += token != first_token(tokenizer, prompt.right)
        found[name] = Share(count, len(prompts))
    return found


def measure_faults(logits: Logits, tokenizer: Any) -> dict[str, dict[str, Share]]:
    """The rates of every fault that the weights themselves carry (edited ones need their patch)."""
    kept = {name: fault(name) for name in FAULTS}
    return {
        name: fault_rates(logits, tokenizer, planted)
        for name, planted in kept.items()
        if planted.kind != "edit"
    }
