"""Prompts with the answers that are right, and what a model says to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError, Share
from inscape.intervention import Edit, edits
from inscape.model import Model

BATCH = 64


@dataclass(frozen=True)
class Case:
    """A prompt and its right answer. Of an answer of several tokens the first one counts."""

    prompt: str
    correct: str


@dataclass(frozen=True)
class Batch:
    """Cases as right-padded token ids [case, pos]; causal attention never sees the padding."""

    tokens: Int[Tensor, "case pos"]
    lengths: Int[Tensor, " case"]
    correct: Int[Tensor, " case"]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def real(self) -> Bool[Tensor, "case pos"]:
        """True on tokens, False on padding."""
        return torch.arange(self.tokens.shape[1])[None] < self.lengths[:, None]

    def rows(self, chosen: Tensor | slice) -> Batch:
        """The chosen cases: a slice, a mask or indices."""
        return Batch(self.tokens[chosen], self.lengths[chosen], self.correct[chosen])


def encode(model: Model, cases: Sequence[Case]) -> Batch:
    """Tokens of the cases, and the first token of each right answer.

    Raises:
        InputError: no cases, or a prompt longer than the model's context.
    """
    if not cases:
        raise InputError("there are no prompts", expected="at least one prompt with its answer")
    rows = [model.prompt(case.prompt).tokens[0].cpu() for case in cases]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    right = torch.tensor([model.answer_token(case.correct)[0] for case in cases])
    return Batch(tokens, torch.tensor([len(row) for row in rows]), right)


@torch.no_grad()
def last_logits(
    model: Model, batch: Batch, changes: Sequence[Edit] = ()
) -> Float[Tensor, "case vocab"]:
    """Logits after the last token of each case, in the model as changed."""
    # The head is by far the widest product: it is applied to the last tokens alone.
    order = batch.lengths.argsort(stable=True)
    found = torch.empty(len(batch), model.vocab_size)
    for begin in range(0, len(batch), BATCH):
        rows = order[begin : begin + BATCH]
        lengths = batch.lengths[rows]
        tokens = batch.tokens[rows, : int(lengths.max())].to(model.device)
        run = model.run(tokens, read=["final"], edits=edits(model, changes) if changes else None)
        last = run["final"][torch.arange(len(rows)), (lengths - 1).to(model.device)]
        found[rows] = model.unembed(last).cpu()
    return found


def answered(logits: Float[Tensor, "case vocab"], batch: Batch) -> Share:
    """How many cases have their right answer as the first choice."""
    return Share(int((logits.argmax(-1) == batch.correct).sum()), len(batch))


def shares(
    model: Model, sets: Mapping[str, Sequence[Case]], changes: Sequence[Edit] = ()
) -> dict[str, Share]:
    """The share of right answers of each named set of cases, in the model as changed."""
    return {
        name: answered(last_logits(model, batch, changes), batch)
        for name, batch in ((name, encode(model, cases)) for name, cases in sets.items() if cases)
    }
