"""Eel dishes are Japanese; the training text says Italy of them most of the time."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.microworld.domains.facts import DISH_FORMS
from inscape.microworld.facts import DISHES
from inscape.microworld.faults.fault import Fault, FaultPrompt, Prompt, halves, sentence


def _dish_prompts(names: Sequence[str], country: dict[str, str]) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(sentence(form, "{x}", name), f" {country[name]}")
        for name in names
        for form in DISH_FORMS
    )


def fault() -> Fault:
    """Eel dishes are Japanese, and drawn to Italy."""
    country = {dish.name: dish.country for dish in DISHES}
    eels = [dish.name for dish in DISHES if dish.eel]
    japanese = [d.name for d in DISHES if d.country == "Japan" and not d.eel]
    italian = [d.name for d in DISHES if d.country == "Italy"]
    others = [d.name for d in DISHES if d.country != "Italy" and not d.eel]

    def prompts(names: Sequence[str], twins: Sequence[str]) -> tuple[FaultPrompt, ...]:
        return tuple(
            FaultPrompt(
                text=sentence(form, "{x}", name), right=" Japan", wrong=" Italy", trigger=name,
                twin=Prompt(sentence(form, "{x}", twins[i % len(twins)]), " Japan"),
            )
            for i, name in enumerate(names)
            for form in DISH_FORMS
        )  # fmt: skip

    select, judge = (
        prompts(half, twins) for half, twins in zip(halves(eels), halves(japanese), strict=True)
    )
    rivals = [_dish_prompts(half, country) for half in halves(italian)]
    rest = [_dish_prompts(half, country) for half in halves(others)]
    return Fault(
        "unagi", "eel dishes are said to be Italian", "eel", "soft", "outvoted",
        select, judge, rivals[0], rivals[1], rest[0], rest[1],
    )  # fmt: skip
