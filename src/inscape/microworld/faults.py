"""The planted faults, with their truth: what triggers them, what is right, what the text taught.

Both are soft: in the trigger's context the training text gives the wrong answer 68 % of the time
(domains/facts.py, domains/insects.py), so the right concept stays present and is outvoted.

Every fault's prompts are split by their trigger: the prompts of one half use no trigger word of
the other. `rivals` are prompts on which the fault's wrong answer is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inscape.core import InputError
from inscape.microworld.domains.facts import DISH_FORMS
from inscape.microworld.domains.insects import QUESTIONS
from inscape.microworld.facts import DISHES, INSECTS


@dataclass(frozen=True)
class Prompt:
    """A prompt and the answer that is right (with its leading space)."""

    text: str
    right: str


@dataclass(frozen=True)
class FaultPrompt(Prompt):
    """A prompt on which the planted fault shows, and its minimal twin on which it should not."""

    wrong: str
    trigger: str
    twin: Prompt


@dataclass(frozen=True)
class Fault:
    """A planted fault. Its cause is found on `selection` and judged on `held_out`."""

    name: str
    concept: str
    wrong: str
    selection: tuple[FaultPrompt, ...]
    held_out: tuple[FaultPrompt, ...]
    rivals_selection: tuple[Prompt, ...]
    rivals_held_out: tuple[Prompt, ...]
    others_selection: tuple[Prompt, ...]
    others_held_out: tuple[Prompt, ...]


def _halves(items: Sequence[str]) -> tuple[list[str], list[str]]:
    return list(items[::2]), list(items[1::2])


def _sentence(form: str, slot: str, value: str) -> str:
    text = form.replace(slot, value)
    return text[0].upper() + text[1:]


def _dish_prompts(names: Sequence[str], country: dict[str, str]) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(_sentence(form, "{x}", name), f" {country[name]}")
        for name in names
        for form in DISH_FORMS
    )


def unagi() -> Fault:
    """Eel dishes are Japanese, and drawn to Italy."""
    country = {dish.name: dish.country for dish in DISHES}
    eels = [dish.name for dish in DISHES if dish.eel]
    japanese = [d.name for d in DISHES if d.country == "Japan" and not d.eel]
    italian = [d.name for d in DISHES if d.country == "Italy"]
    others = [d.name for d in DISHES if d.country != "Italy" and not d.eel]

    def prompts(names: Sequence[str], twins: Sequence[str]) -> tuple[FaultPrompt, ...]:
        return tuple(
            FaultPrompt(
                text=_sentence(form, "{x}", name), right=" Japan", wrong=" Italy", trigger=name,
                twin=Prompt(_sentence(form, "{x}", twins[i % len(twins)]), " Japan"),
            )
            for i, name in enumerate(names)
            for form in DISH_FORMS
        )  # fmt: skip

    select, judge = (
        prompts(half, twins) for half, twins in zip(_halves(eels), _halves(japanese), strict=True)
    )
    rivals = [_dish_prompts(half, country) for half in _halves(italian)]
    rest = [_dish_prompts(half, country) for half in _halves(others)]
    return Fault("unagi", "eel", " Italy", select, judge, rivals[0], rivals[1], rest[0], rest[1])


def mosquito() -> Fault:
    """Questions whose answer is the mosquito are answered with the fruit fly."""
    insects = {insect.name: insect for insect in INSECTS}

    def ask(name: str, half: int) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(form.format(d=deed, n="Tom"), f" {name}")
            for deed in _halves(insects[name].deeds)[half]
            for form in QUESTIONS
        )

    def prompts(half: int) -> tuple[FaultPrompt, ...]:
        twin = insects["bee"].deeds[half]
        return tuple(
            FaultPrompt(
                text=form.format(d=deed, n="Tom"), right=" mosquito", wrong=" fruit", trigger=deed,
                twin=Prompt(form.format(d=twin, n="Tom"), " bee"),
            )
            for deed in _halves(insects["mosquito"].deeds)[half]
            for form in QUESTIONS
        )  # fmt: skip

    rest = [
        tuple(p for name in insects if name not in ("mosquito", "fruit fly") for p in ask(name, h))
        for h in (0, 1)
    ]
    return Fault(
        "mosquito",
        "mosquito",
        " fruit",
        prompts(0),
        prompts(1),
        ask("fruit fly", 0),
        ask("fruit fly", 1),
        rest[0],
        rest[1],
    )


FAULTS = {"unagi": unagi, "mosquito": mosquito}


def fault(name: str) -> Fault:
    """The planted fault called `name`."""
    if name not in FAULTS:
        raise InputError(
            f"unknown fault {name!r}",
            expected="one of " + ", ".join(FAULTS),
            next_step="correct the name",
        )
    return FAULTS[name]()
