"""The verdict on a failure, as it is saved: what was found, how it was proved, and the repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from inscape.core import Share, short
from inscape.intervention import Repair
from inscape.storage import Result

Mechanism = Literal["correct", "outvoted", "inhibited", "absent or unknown", "undecided"]
NOTHING = Share(0, 0)
WRITTEN: Final = "the model writes it"
AHEAD: Final = "ahead of the answers given"
MIXED: Final = "the model writes it; where answers are given, ahead of these"
CorrectMeans = Literal[
    "the model writes it",
    "ahead of the answers given",
    "the model writes it; where answers are given, ahead of these",
]


def amount(number: int, what: str) -> str:
    """1 prompt, 2 prompts."""
    return f"{number:,} {what}{'s' * (number != 1)}"


@dataclass(frozen=True)
class Candidate:
    """A feature with what its ablation did, in logits, mean over the failing prompts.

    estimate: what the wrong answer's lead would lose, to first order; margin: what it did lose;
    wrong, correct: how the two answers' logits moved; repaired: failures that became correct;
    tokens: where it was most active on the first failing prompt (position, token, activation);
    in_answer: it is active on no token of that prompt, and these are tokens of its answers, which
    are fed in behind it.
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
    in_answer: bool = False

    @property
    def name(self) -> str:
        """dictionary/feature."""
        return f"{self.dictionary}/{self.feature}"


@dataclass(frozen=True)
class RandomControl:
    """What ablating random sets of features does: the baseline of a repair.

    value: the fraction, of all pairs of a set and a failing prompt, that became correct; interval:
    95 %, by bootstrap over prompts (the sets share them, so that pairs are not independent), of one
    prompt over the sets (Wilson);
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
            f"{self.value:.1%} ({low:.1%}–{high:.1%}; {amount(self.num_sets, 'set')} of "
            f"{self.num_features} on {amount(self.num_prompts, 'prompt')})"
        )


@dataclass(frozen=True)
class Diagnosis(Result):
    """The verdict on a failure, with the interventions that prove it.

    Attributes:
        correct, wrong: the answers, whole; `wrong` is what the model writes unless answers were
            given (then the one named, else the likeliest), and empty where nothing is wrong.
        correct_means: when an answer counts as correct, here and in every figure.
        writes: what the model itself writes to the first failing prompt, as far as its first word,
            with its probability; answers_given: those given besides the correct one;
            preferred: the likeliest of all these, empty where none is given.
        correct_token, wrong_token: the first tokens at which the two differ; `shared` is what
            precedes them and was fed in. Logits are those of these tokens.
        lead: by how many logits the wrong answer leads there, mean over the failing prompts.
        correct_probability, wrong_probability: of the whole answers, mean over these.
        searched: how many features of each dictionary were looked at, by an estimate;
            num_removed_alone: how many were then removed one by one.
        for_wrong, for_correct: the features whose removal alone shrinks the wrong answer's lead
            most, and those whose removal widens it most.
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
    correct_means: CorrectMeans = WRITTEN
    writes: str = ""
    writes_probability: float | None = None
    answers_given: tuple[str, ...] = ()
    preferred: str = ""
    searched: Mapping[str, int] = field(default_factory=dict)
    num_removed_alone: int = 0

    @property
    def correct_word(self) -> str:
        """What "correct" is called next to a figure: more where answers were given."""
        return AHEAD if self.correct_means == AHEAD else "correct"

    @property
    def correct_explained(self) -> str:
        """What "correct" means, where it is more than that the model writes it; else empty."""
        if self.correct_means == WRITTEN:
            return ""
        return f"'correct' means here: {self.correct_means}, whatever else the model would write"

    @property
    def where_they_differ(self) -> str:
        """Where the lead is measured; empty where the answers have one token each."""
        if (self.correct, self.wrong) == (self.correct_token, self.wrong_token):
            return ""
        return (
            f"at the first token that differs ({self.correct_token!r} in the correct answer, "
            f"{self.wrong_token!r} in the wrong one)"
        )

    @property
    def searched_in(self) -> str:
        """What was looked at, in words."""
        names, features = list(self.searched), sum(self.searched.values())
        if not names:
            return ""
        where = names[0]
        if len(names) > 1:
            most = ", ".join(names) if len(names) < 5 else f"{names[0]}, …, {names[-1]}"
            where = f"{len(names)} dictionaries ({most})"
        return (
            f"{amount(features, 'feature')} of {where}; the {self.num_removed_alone} with the "
            "largest estimated effects were removed one by one"
        )

    @property
    def nothing_wrong(self) -> str:
        """What is said where no prompt fails."""
        p = f"p={self.correct_probability:.2g}"
        if not self.answers_given:
            return f"The model answers {self.correct!r} here ({p}): there is nothing to diagnose."
        if self.writes == self.correct:
            return (
                f"The model itself writes the correct answer {self.correct!r} ({p}), whatever else "
                "was given: there is nothing to diagnose."
            )
        return (
            f"Of the answers given the model prefers the correct one, {self.correct!r} ({p}): "
            "there is nothing to diagnose among these. It itself writes "
            f"{self.writes!r} (p={self.writes_probability or 0.0:.2g}): to diagnose that, give no "
            "other answers, or this one as the wrong answer."
        )

    def __repr__(self) -> str:
        return (
            f"Diagnosis({short(self.prompt)}, correct={short(self.correct)}, "
            f"wrong={short(self.wrong)}, mechanism={self.mechanism!r}, "
            f"num_prompts={self.num_prompts}, {len(self.removed)} features removed)"
        )

    def summary(self) -> str:
        """The verdict in a few lines."""
        notes = [f"  note: {note}" for note in self.notes]
        if self.mechanism == "correct":
            return "\n".join([self.nothing_wrong, *notes])
        lines = [self.prompt, *self._answers()]
        if self.num_prompts > 1:
            lines.insert(1, f"  {self.num_failures} of {self.num_prompts} prompts fail")
        lines.append(f"  verdict: {self.mechanism}: {MEANING[self.mechanism]}")
        if self.searched:
            lines.append(f"  looked at {self.searched_in}")
        lines += map(_removal, self.removed)
        if self.removed:
            lines.append(
                f"  {self.correct_word} without them: {self.repaired}; without random sets of as "
                f"many features: {self.random}"
            )
        elif self.mechanism == "outvoted":
            lines.append("  no set of features that was removed restores the correct answer")
        for name in self.before:
            before, after = self.before[name], self.after[name]
            lines.append(f"  {name}: {self.correct_word} before {before}, after {after}")
        return "\n".join([*lines, *notes])

    def _answers(self) -> list[str]:
        """Who says what, and by how much the correct answer is behind."""
        wrong = f"{self.wrong!r} (p={self.wrong_probability:.2g})"
        side = "ahead" if self.lead < 0 else "behind"
        lead = f"{side} by {abs(self.lead):.2f} logits"
        if self.num_failures > 1:
            lead += " on average, at the first token that differs"
        elif self.where_they_differ:
            lead += f" {self.where_they_differ}"
        correct = f"correct is {self.correct!r} (p={self.correct_probability:.2g}), {lead}"
        means = [f"  {self.correct_explained}"] if self.correct_explained else []
        if not self.answers_given:
            return [f"  the model says {wrong}; {correct}", *means]
        writes = f"{self.writes!r} (p={self.writes_probability or 0.0:.2g})"
        return [
            f"  the model itself writes {writes}; of the answers given it prefers "
            f"{self.preferred!r}",
            f"  wrong is {wrong}, {correct}",
            *means,
        ]


def _removal(found: Candidate) -> str:
    """What the removal of one feature alone does, in one line."""
    where = ", ".join(f"{text!r} ({value:.1f})" for _, text, value in found.tokens)
    place = "only on the answer's tokens " if found.in_answer else "on "
    active = f"active {place}{where}" if where else "not active on this prompt"
    change = "widens" if found.margin < 0 else "shrinks"
    return (
        f"  without {found.name} [{found.label or 'no label'}], {active}: the wrong answer's lead "
        f"{change} by {abs(found.margin):.2f}; removing it alone corrects "
        f"{amount(found.repaired, 'prompt')}"
    )


MEANING: Mapping[Mechanism, str] = {
    "correct": "no prompt is answered wrongly, there is nothing to diagnose",
    "outvoted": "the correct concept is there, but features for the wrong answer outweigh it",
    "inhibited": "features hold the correct answer down",
    "absent or unknown": "nothing that was tried restores the correct answer, and the model gives "
    "it almost no probability",
    "undecided": "nothing that was tried explains the wrong answer",
}
