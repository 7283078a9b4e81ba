"""The verdict on a failure, as it is saved: what was found, how it was proved, and the repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from inscape.core import Share, short
from inscape.intervention import Repair
from inscape.storage import Result

Mechanism = Literal["correct", "outvoted", "inhibited", "absent or unknown", "undecided"]
NOTHING = Share(0, 0)


@dataclass(frozen=True)
class Candidate:
    """A feature with what its ablation did, in logits, mean over the failing prompts.

    estimate: what the wrong answer's lead would lose, to first order; margin: what it did lose;
    wrong, correct: how the two answers' logits moved; repaired: failures that became correct;
    tokens: where it was most active on the first failing prompt (position, token, activation).
    """

    dictionary: str
    feature: int
    label: str | None
    estimate: float
    margin: float
    wrong: float
    correct: float
    repaired: int
    tokens: tuple[tuple[int, str, float], ...]

    @property
    def name(self) -> str:
        """dictionary/feature."""
        return f"{self.dictionary}/{self.feature}"


@dataclass(frozen=True)
class RandomControl:
    """What ablating random sets of features does: the baseline of a repair.

    value: the fraction, of all pairs of a set and a failing prompt, that became correct; interval:
    95 %, by bootstrap over prompts (the sets share them, so that pairs are not independent);
    num_features: how many each set has, as many as the repair unless too few are active.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None
    num_sets: int = 0
    num_prompts: int = 0
    num_features: int = 0

    def __str__(self) -> str:
        if self.value is None or self.interval is None:
            return "not measured"
        low, high = self.interval
        return (
            f"{self.value:.1%} ({low:.1%}–{high:.1%}; {self.num_sets} sets of {self.num_features} "
            f"on {self.num_prompts} prompts)"
        )


@dataclass(frozen=True)
class Diagnosis(Result):
    """The verdict on a failure, with the interventions that prove it.

    Attributes:
        correct, wrong: the answers, whole; `wrong` is what the model says unless it was named, and
            empty where nothing is wrong.
        correct_token, wrong_token: the first tokens at which the two differ; `shared` is what
            precedes them and was fed in. Logits are those of these tokens.
        lead: by how many logits the wrong answer leads, mean over the failing prompts.
        correct_probability, wrong_probability: of the whole answers, mean over these.
        for_wrong, for_correct: the features that raise either answer most.
        removed: the features whose ablation, all together, restores the correct answers; `repair`
            is these edits, to be saved and applied again.
        repaired: failures that it makes correct; random: the same of random sets; amplified: of
            doubling the features for the correct answer.
        before, after: correct answers on further sets of prompts, without and with the repair.
    """

    SCHEMA: ClassVar[str] = "inscape.diagnosis"
    VERSION: ClassVar[int] = 2
    MADE_BY: ClassVar[str] = "diagnose"

    prompt: str
    correct: str
    correct_token: str
    correct_probability: float
    num_prompts: int
    num_failures: int = 0
    mechanism: Mechanism = "correct"
    wrong: str = ""
    wrong_token: str = ""
    wrong_probability: float = 0.0
    lead: float = 0.0
    shared: str = ""
    for_wrong: tuple[Candidate, ...] = ()
    for_correct: tuple[Candidate, ...] = ()
    removed: tuple[Candidate, ...] = ()
    repair: Repair | None = None
    repaired: Share = NOTHING
    random: RandomControl = field(default_factory=RandomControl)
    amplified: Share = NOTHING
    before: Mapping[str, Share] = field(default_factory=dict)
    after: Mapping[str, Share] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Diagnosis({short(self.prompt)}, correct={short(self.correct)}, "
            f"wrong={short(self.wrong)}, mechanism={self.mechanism!r}, "
            f"num_prompts={self.num_prompts}, {len(self.removed)} features removed)"
        )

    def summary(self) -> str:
        """The verdict in a few lines."""
        p = f"p={self.correct_probability:.2g}"
        if self.mechanism == "correct":
            return f"The model answers {self.correct!r} here ({p}): there is nothing to diagnose."
        lines = [
            self.prompt,
            f"  the model says {self.wrong!r} (p={self.wrong_probability:.2g}); correct is "
            f"{self.correct!r} ({p}), behind by {self.lead:.2f} logits",
            f"  verdict: {self.mechanism}: {MEANING[self.mechanism]}",
        ]
        if self.num_prompts > 1:
            lines.insert(1, f"  {self.num_failures} of {self.num_prompts} prompts fail")
        for found in self.removed:
            where = ", ".join(f"{text!r} ({value:.1f})" for _, text, value in found.tokens)
            lines.append(
                f"  without {found.name} [{found.label or 'no label'}], active on {where}: the "
                f"wrong answer's lead shrinks by {found.margin:.2f}; removing it alone "
                f"corrects {found.repaired} prompt{'s' * (found.repaired != 1)}"
            )
        if self.removed:
            lines.append(
                f"  correct without them: {self.repaired}; without random sets of as many "
                f"features: {self.random}"
            )
        elif self.mechanism == "outvoted":
            lines.append("  no set of features that was removed restores the correct answer")
        for name in self.before:
            lines.append(f"  {name}: correct before {self.before[name]}, after {self.after[name]}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


MEANING: Mapping[Mechanism, str] = {
    "correct": "the model answers correctly, there is nothing to diagnose",
    "outvoted": "the correct concept is there, but features for the wrong answer outweigh it",
    "inhibited": "features hold the correct answer down",
    "absent or unknown": "nothing that was tried restores the correct answer, and the model gives "
    "it almost no probability",
    "undecided": "nothing that was tried explains the wrong answer",
}
