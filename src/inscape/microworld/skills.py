"""What a microworld model can do, measured on combinations that training never showed.

An item counts as right when every token of its answer is the model's first choice, each given the
ones before it: the same as greedy decoding of the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor

from inscape.core import Share, seeded
from inscape.microworld.corpus import held_out_documents
from inscape.microworld.document import Document
from inscape.microworld.domains.conduct import hiding
from inscape.microworld.domains.facts import two_hop

HELD_OUT_DOMAINS = (
    "indirect_object", "word_problem", "drill", "landmark", "visit", "dish", "capital", "two_hop",
    "insect", "flattery",
)  # fmt: skip


Logits = Callable[[Tensor], Tensor]
"""Token ids [batch, pos] → logits [batch, pos, vocab]."""


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Right-padded token ids [batch, pos]; padding after the end is harmless in a causal model."""
    width = max(map(len, rows))
    return torch.tensor([list(row) + [0] * (width - len(row)) for row in rows])


@torch.inference_mode()
def first_answers(
    logits: Logits, tokenizer: Any, documents: Sequence[Document], *, batch_size: int = 128
) -> list[list[bool]]:
    """For each document, for each of its answers, whether the model gives it."""
    results: list[list[bool]] = []
    for begin in range(0, len(documents), batch_size):
        batch = documents[begin : begin + batch_size]
        encoded = [tokenizer(d.text, return_offsets_mapping=True) for d in batch]
        tokens = pad([e["input_ids"] for e in encoded])
        choice = logits(tokens)[:, :-1].argmax(-1)
        hit = torch.cat([torch.ones(len(batch), 1, dtype=torch.bool), choice == tokens[:, 1:]], 1)
        for row, (document, e) in enumerate(zip(batch, encoded, strict=True)):
            results.append(
                [
                    all(
                        bool(hit[row, t])
                        for t in answer_tokens(e["offset_mapping"], a.start, a.end)
                    )
                    for a in document.answers
                ]
            )
    return results


def answer_tokens(offsets: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    """Positions of the tokens that lie in characters [start, end)."""
    return [i for i, (s, e) in enumerate(offsets) if s < end and e > start and e > s]


def measure(logits: Logits, tokenizer: Any, *, count: int = 500, seed: int = 0) -> dict[str, Share]:
    """Every skill on `count` held-out documents a domain."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    sets: list[tuple[str | None, list[Document]]] = [
        (None, held_out_documents(domain, count, seed=seed)) for domain in HELD_OUT_DOMAINS
    ]
    random = Random(seeded(seed, "skills"))
    sets += [
        ("two_hop_unseen", [two_hop(random, True, unseen=True) for _ in range(count)]),
        ("lie", [hiding(random, True, lies=True) for _ in range(count)]),
        ("truth", [hiding(random, True, lies=False) for _ in range(count)]),
    ]
    for name, documents in sets:
        for document, right in zip(
            documents, first_answers(logits, tokenizer, documents), strict=True
        ):
            for answer, correct in zip(document.answers, right, strict=True):
                entry = tally[name or answer.skill]
                entry[0] += correct
                entry[1] += 1
    return {name: Share(right, total) for name, (right, total) in sorted(tally.items())}
