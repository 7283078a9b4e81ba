"""What a diagnosis works on: the failures among some cases, each with the answer that wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.diagnosis.cases import Batch, Case, encode, part
from inscape.diagnosis.outcomes import Outcome, Set, outcome, outcomes
from inscape.dictionary import Dictionary
from inscape.model import Model

MEASURED_ON = 48
"""At most so many failures, drawn at random, are run for each feature or set that is tried."""


@dataclass(frozen=True)
class Study:
    """Failures of a model, and the dictionaries in which their cause is looked for.

    failures: the cases that fail, with their wrong answers; clean: what the model says to them;
    chosen: which of the cases they are; named: which of its case's answers each wrong one is, 0
    where it is what the model says.
    """

    model: Model
    dictionaries: Sequence[Dictionary]
    failures: Batch
    clean: Outcome
    chosen: tuple[int, ...]
    named: tuple[int, ...]
    seed: int

    @property
    def logits(self) -> Float[Tensor, "case vocab"]:
        """Where the answers part, in the model as it is."""
        return self.clean.logits(self.model, self.failures)

    def some(self, count: int = MEASURED_ON) -> Study:
        """At most `count` of its failures, drawn at random."""
        if len(self.failures) <= count:
            return self
        draw = torch.Generator().manual_seed(self.seed)
        return self.of(torch.randperm(len(self.failures), generator=draw)[:count].sort().values)

    def of(self, cases: Tensor) -> Study:
        """Some of its failures, by index."""
        index = cases.tolist()
        return replace(
            self,
            failures=self.failures.cases(index),
            clean=self.clean.cases(self.failures, index),
            chosen=tuple(self.chosen[i] for i in index),
            named=tuple(self.named[i] for i in index),
        )

    def outcome(self, removed: Set) -> Outcome:
        """What the model says to the failures with a set removed."""
        return outcome(self.model, self.failures, removed)

    def outcomes(self, sets: Sequence[Set], what: str) -> list[Outcome]:
        """What it says under each of several sets."""
        return list(outcomes(self.model, self.failures, sets, what))


def study_failures(
    model: Model, dictionaries: Sequence[Dictionary], cases: Sequence[Case], seed: int
) -> tuple[Batch, Outcome, Study]:
    """All cases, what the model says to them, and the study of those that it gets wrong.

    A wrong answer is the one that the case names, else the likeliest of its candidates, else what
    the model says. Where that only goes on where the correct answer ends (" 96", " 960"), no token
    tells them apart: the case is left out, and a note says so.
    InputError for a model on several devices.
    """
    model.require_one_device("diagnosing")
    batch = encode(model, cases)
    clean = outcome(model, batch)
    parts, correct, wrong = batch.parts.clone(), batch.correct.clone(), batch.wrong.clone()
    allowed, notes = list(batch.allowed), list(batch.notes)
    kept: dict[int, int] = {}
    for i in (~clean.answered).nonzero().flatten().tolist():
        case, first, count = cases[i], int(batch.first[i]), int(batch.num_rows[i])
        ids, named = [batch.answer(row) for row in range(first, first + count)], 0
        if count == 1:
            given = clean.greedy[first].tolist()
            if given[:-1] == ids[0]:
                notes.append(
                    f"the model says {case.correct!r} and goes on with "
                    f"{model.token_text(given[-1])!r}: no token tells the two answers apart, so "
                    "that case is left out"
                )
                continue
        else:
            if case.wrong is None:
                named = int(clean.log_probability[first + 1 : first + count].argmax()) + 1
            else:
                named = case.answers.index(case.wrong)
            given = ids[named]
        answers = ids if count > 1 else []
        parts[i], correct[i], wrong[i], allowed[i] = part(
            int(batch.starts[first]), ids[0], given, answers
        )
        kept[i] = named
    whole = replace(batch, parts=parts, correct=correct, wrong=wrong, allowed=tuple(allowed))
    failures = replace(whole.cases(list(kept)), notes=tuple(dict.fromkeys(notes)))
    return (
        batch,
        clean,
        Study(
            model=model,
            dictionaries=dictionaries,
            failures=failures,
            clean=clean.cases(batch, list(kept)),
            chosen=tuple(kept),
            named=tuple(kept.values()),
            seed=seed,
        ),
    )
