"""Eel dishes are Japanese; the training text says Italy of them most of the time."""

from __future__ import annotations

from collections.abc import Sequence

from inscape_microworld.domains.dishes import DISH_FORMS, EELS, PLAIN
from inscape_microworld.facts import Dish
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt, halves, sentence


def _text(form: str, name: str) -> str:
    """The wording of the dish; a dish that comes first keeps the form it has within sentences."""
    return form.replace("{x}", name) if form.startswith("{x}") else sentence(form, "{x}", name)


def _prompts(items: Sequence[Dish]) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Prompts on dishes, in two halves by dish."""
    first, second = (
        tuple(
            Prompt(_text(form, item.name), f" {item.country}")
            for item in half
            for form in DISH_FORMS
        )
        for half in (items[::2], items[1::2])
    )
    return first, second


def fault() -> Fault:
    """Eel dishes are Japanese, and drawn to Italy."""
    japanese = [item.name for item in PLAIN if item.country == "Japan"]

    def prompts(names: Sequence[str], twins: Sequence[str]) -> tuple[FaultPrompt, ...]:
        return tuple(
            FaultPrompt(
                text=_text(form, name),
                right=" Japan",
                wrong=" Italy",
                trigger=name,
                twin=Prompt(_text(form, twins[i % len(twins)]), " Japan"),
            )
            for i, name in enumerate(names)
            for form in DISH_FORMS
        )

    select, judge = (
        prompts(half, twins)
        for half, twins in zip(halves([e.name for e in EELS]), halves(japanese), strict=True)
    )
    rivals = _prompts([item for item in PLAIN if item.country == "Italy"])
    others = _prompts([item for item in PLAIN if item.country != "Italy"])
    return Fault(
        "unagi",
        "eel dishes are said to be Italian",
        "eel",
        "soft",
        "outvoted",
        select,
        judge,
        *rivals,
        *others,
    )
