"""What a planted fault is: its prompts, what is right, what the model says, and why.

Prompts are split by their trigger: those of one half use no trigger word of the other. `rivals`
are prompts on which the fault's wrong answer is right; `others` are prompts of the same form that
the fault has no part in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["soft", "hard", "unseen", "edit"]
"""Where a fault comes from: training text that states it most of the time, or always; an entity
that training never shows; an edit of the weights."""
Mechanism = Literal[
    "outvoted", "inhibited", "absent", "not attended to", "drifted", "unknown to the model"
]


@dataclass(frozen=True)
class Prompt:
    """A prompt and the answer that is right (with its leading space)."""

    text: str
    right: str


@dataclass(frozen=True)
class FaultPrompt(Prompt):
    """A prompt on which the planted fault shows, and its minimal twin on which it should not.

    wrong: what the model is expected to say; "" where any other answer than the right one counts.
    trigger: the words of `text` that bring the fault about.
    """

    wrong: str
    trigger: str
    twin: Prompt


@dataclass(frozen=True)
class Fault:
    """A planted fault. Its cause is found on `selection` and judged on `held_out`.

    concept: the responsible concept, by its name in the corpus's truth.
    mechanism: the verdict that is right.
    """

    name: str
    title: str
    concept: str
    kind: Kind
    mechanism: Mechanism
    selection: tuple[FaultPrompt, ...]
    held_out: tuple[FaultPrompt, ...]
    rivals_selection: tuple[Prompt, ...] = ()
    rivals_held_out: tuple[Prompt, ...] = ()
    others_selection: tuple[Prompt, ...] = ()
    others_held_out: tuple[Prompt, ...] = ()

    @property
    def prompts(self) -> tuple[FaultPrompt, ...]:
        """Both halves."""
        return (*self.selection, *self.held_out)


def halves(items: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every other item, and the rest."""
    return list(items[::2]), list(items[1::2])


def sentence(form: str, slot: str, value: str) -> str:
    """The form with its slot filled, beginning with a capital."""
    text = form.replace(slot, value)
    return text[0].upper() + text[1:]
