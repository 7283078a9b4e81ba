"""Prompts with their correct answers, as the rows of tokens that a model is run on.

1. A row holds a prompt and one answer: that of a case's correct answer comes first. A case that
   names a wrong answer, or candidates, has a row for each; the model's answer is then the likeliest
   of them, unless it writes the correct one greedily. Of another case it is what the model writes.
2. A case is explained at the first position where correct and wrong answer part, with what they
   share fed in: `parts`, whose logits are those of `correct` and `wrong` there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from inscape.core import InputError, all_of, seeded
from inscape.model import Answer, Model, Prompt, Source


@dataclass(frozen=True)
class Case:
    """A prompt and its correct answer.

    Attributes:
        prompt: text, or chat messages.
        wrong: the answer that wins in its place, where it is to be named.
        candidates: further answers. With `wrong` or candidates the model's answer is the likeliest
            of all these, so that filler (" the") is none unless it is among them; where the model
            writes the correct answer it is right, however likely the others are.
    """

    prompt: Source
    correct: str
    wrong: str | None = None
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = [] if self.wrong is None else [self.wrong]
        all_of(str, [self.correct, *wrong], "an answer")
        if self.wrong == self.correct:
            raise InputError(
                f"{self.correct!r} is given as the correct and as the wrong answer",
                expected="two answers that differ",
            )
        object.__setattr__(self, "candidates", tuple(all_of(str, self.candidates, "an answer")))

    @property
    def answers(self) -> tuple[str, ...]:
        """The correct answer, then the others that it is compared with."""
        named = () if self.wrong is None else (self.wrong,)
        return tuple(dict.fromkeys((self.correct, *named, *self.candidates)))


@dataclass(frozen=True)
class Batch:
    """Cases as right-padded rows of tokens, on the CPU.

    tokens, counted [row, pos]: a prompt and an answer; where edits act. starts, lengths [row]: of
    the prompt, and with the answer; digits [row]: whether the answer ends in one. first [case]: its
    row of the correct answer; its other rows follow. parts [case]: the position before the first
    token that differs; correct, wrong [case]: the tokens there (wrong: −1 where none is known);
    allowed: those that count as answers, empty where all do.
    """

    tokens: Int[Tensor, "row pos"]
    counted: Bool[Tensor, "row pos"]
    starts: Int[Tensor, " row"]
    lengths: Int[Tensor, " row"]
    digits: Bool[Tensor, " row"]
    first: Int[Tensor, " case"]
    parts: Int[Tensor, " case"]
    correct: Int[Tensor, " case"]
    wrong: Int[Tensor, " case"]
    allowed: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.first)

    @property
    def num_rows(self) -> Int[Tensor, " case"]:
        """How many rows each case has."""
        ends = torch.cat([self.first[1:], torch.tensor([len(self.starts)])])
        return ends - self.first

    @property
    def stems(self) -> tuple[Int[Tensor, "case pos"], Int[Tensor, " case"]]:
        """Each case's tokens up to where the answers part, and how many they are."""
        lengths = self.parts + 1
        return self.tokens[self.first, : int(lengths.max())], lengths

    def answer(self, row: int) -> list[int]:
        """The tokens of a row's answer."""
        ids: list[int] = self.tokens[row, int(self.starts[row]) : int(self.lengths[row])].tolist()
        return ids

    def shared(self, case: int) -> list[int]:
        """What the correct and the wrong answer of a case begin with."""
        row = int(self.first[case])
        return self.answer(row)[: int(self.parts[case] + 1 - self.starts[row])]

    def cases(self, chosen: Tensor | Sequence[int]) -> Batch:
        """The chosen cases, by a mask or indices."""
        index = torch.as_tensor(chosen)
        index = index.nonzero().flatten() if index.dtype == torch.bool else index.long()
        counts = self.num_rows[index]
        begins = self.first[index].repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        rows = begins + torch.arange(int(counts.sum())) - first.repeat_interleave(counts)
        longest = int(self.lengths[rows].max()) if len(rows) else 0
        return replace(
            self,
            tokens=self.tokens[rows, :longest],
            counted=self.counted[rows, :longest],
            **{name: getattr(self, name)[rows] for name in ("starts", "lengths", "digits")},
            first=first,
            **{name: getattr(self, name)[index] for name in ("parts", "correct", "wrong")},
            allowed=tuple(self.allowed[i] for i in index.tolist()),
        )

    def lead(self, logits: Float[Tensor, "case vocab"]) -> Float[Tensor, " case"]:
        """By how much the wrong answers lead, in logits at `parts`."""
        rows = torch.arange(len(self))
        return logits[rows, self.wrong] - logits[rows, self.correct]

    def drawn(self, count: int, seed: int) -> Batch:
        """At most `count` cases, drawn at random, in their order."""
        if len(self) <= count:
            return self
        draw = np.random.default_rng(seeded(seed, "cases")).permutation(len(self))[:count]
        return self.cases(sorted(draw.tolist()))

    def visible(self, logits: Float[Tensor, "case vocab"]) -> Float[Tensor, "case vocab"]:
        """Logits at `parts`, −∞ for tokens that begin no answer that counts."""
        if not any(self.allowed):
            return logits
        hidden = torch.zeros_like(logits, dtype=torch.bool)
        for row, tokens in enumerate(self.allowed):
            if tokens:
                hidden[row] = True
                hidden[row, list(tokens)] = False
        return logits.masked_fill(hidden, -torch.inf)


def encode(model: Model, cases: Sequence[Case]) -> Batch:
    """The rows of the cases. `parts` is where a wrong answer that the case names parts from the
    correct one; without one, the first token of the correct answer that is more than space.

    Raises:
        InputError: no cases; a prompt and answer longer than the model's context, or a picture;
            an answer that begins with another, or is both correct and wrong.
    """
    cases = all_of(Case, cases, "a prompt with its answer")
    if not cases:
        raise InputError("there are no prompts", expected="at least one prompt with its answer")
    prompts = [model.prompt(case.prompt) for case in cases]
    answers = [
        [model.answer(prompt, text) for text in case.answers]
        for prompt, case in zip(prompts, cases, strict=True)
    ]
    rows, counted, starts = [], [], []
    for prompt, given, here in zip(prompts, answers, _counted(model, prompts), strict=True):
        for answer in given:
            rows.append(torch.tensor([*prompt.ids, *answer.ids]))
            words = torch.tensor([token not in model.special_ids for token in answer.ids])
            counted.append(torch.cat([here[: len(prompt)], words]))
            starts.append(len(prompt))
    lengths = torch.tensor([len(row) for row in rows])
    if int(lengths.max()) > model.context_length:
        raise InputError(
            f"a prompt with its answer has {int(lengths.max())} tokens",
            expected=f"at most {model.context_length}, the context of {model.name}",
        )
    counts = torch.tensor([len(given) for given in answers])
    parted = [
        _parted(model, prompt, given, case.wrong)
        for prompt, given, case in zip(prompts, answers, cases, strict=True)
    ]
    parts, correct, wrong, allowed = zip(*parted, strict=True)
    return Batch(
        tokens=pad_sequence(rows, batch_first=True),
        counted=pad_sequence(counted, batch_first=True),
        starts=torch.tensor(starts),
        lengths=lengths,
        digits=torch.tensor([a.text[-1:].isdigit() for given in answers for a in given]),
        first=counts.cumsum(0) - counts,
        parts=torch.tensor(parts),
        correct=torch.tensor(correct),
        wrong=torch.tensor(wrong),
        allowed=allowed,
        notes=tuple(dict.fromkeys(n for given in answers for a in given for n in a.notes)),
    )


def _counted(model: Model, prompts: Sequence[Prompt]) -> Iterator[Bool[Tensor, " pos"]]:
    """Of each prompt the positions that count, measured many at a time."""
    if any(prompt.pixels is not None for prompt in prompts):
        raise InputError("a prompt with a picture", expected="text: diagnoses read no pictures")
    for first in range(0, len(prompts), 64):
        some = prompts[first : first + 64]
        ids = pad_sequence([torch.tensor(p.ids) for p in some], batch_first=True)
        words = pad_sequence([torch.tensor(p.words) for p in some], batch_first=True)
        yield from model.counted(ids, words).cpu()


def _parted(
    model: Model, prompt: Prompt, answers: Sequence[Answer], wrong: str | None
) -> tuple[int, int, int, tuple[int, ...]]:
    """(parts, correct, wrong, allowed) of one case."""
    correct, others = answers[0], answers[1:]
    named = [answer for answer in others if answer.text == wrong] or list(others[:1])
    if not named:
        blank = [not model.token_text(token).strip() for token in correct.ids]
        at = blank.index(False) if False in blank else 0
        return len(prompt) - 1 + at, correct.ids[at], -1, ()
    return part(len(prompt), correct.ids, named[0].ids, [a.ids for a in answers])


def part(
    start: int, correct: Sequence[int], wrong: Sequence[int], answers: Sequence[Sequence[int]]
) -> tuple[int, int, int, tuple[int, ...]]:
    """(parts, correct, wrong, allowed) where two answers part, of prompts `start` tokens long.

    Raises:
        InputError: one of the two begins with the other.
    """
    at = next((i for i, (a, b) in enumerate(zip(correct, wrong, strict=False)) if a != b), None)
    if at is None:
        raise InputError(
            "of the correct and the wrong answer one begins with the other",
            expected="two answers that differ in a token",
            next_step="let the shorter one go on until it differs",
        )
    shared = list(correct[:at])
    here = {ids[at] for ids in answers if list(ids[:at]) == shared and len(ids) > at}
    return start - 1 + at, correct[at], wrong[at], tuple(sorted(here))
