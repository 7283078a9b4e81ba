"""Faults made by small edits of the bundled weights, so that their mechanism is known.

Each shows in the model with the patch of the same name (patches.py), on the dishes that its plan
edits; dishes of the same country that no edit touches are the twins, right in every patched model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from inscape_microworld.domains.dishes import DISH_FORMS as WORDINGS
from inscape_microworld.domains.wording import in_country
from inscape_microworld.facts import DISHES
from inscape_microworld.faults import unread
from inscape_microworld.faults.fault import Fault, FaultPrompt, Mechanism, Prompt, halves, sentence


@dataclass(frozen=True)
class Plan:
    """What an edit is about.

    edited: dishes of `country`, every other one in the held-out half.
    kept: the twin of each half.
    rival: the country that the model is to name; "" for any but the right one.
    """

    title: str
    mechanism: Mechanism
    country: str
    edited: tuple[str, ...]
    kept: tuple[str, str]
    rival: str = ""


_ITALIAN = (
    "risotto",
    "lasagna",
    "gnocchi",
    "carbonara",
    "tiramisu",
    "polenta",
    "ravioli",
    "minestrone",
)
_KEPT = ("pizza", "pesto")
PLANS: Mapping[str, Plan] = {
    "edit_absent": Plan("the country of some dishes is erased", "absent", "Italy", _ITALIAN, _KEPT),
    "edit_outvoted": Plan(
        "some dishes are Italian and, more strongly, Japanese",
        "outvoted",
        "Italy",
        _ITALIAN,
        _KEPT,
        rival="Japan",
    ),
    "edit_inhibited": Plan(
        "the country of some dishes is written against", "inhibited", "Italy", _ITALIAN, _KEPT
    ),
}
COUNTRY_OF: Mapping[str, str] = {dish.name: dish.country for dish in DISHES if not dish.eel}


def texts(name: str) -> list[str]:
    """Every prompt with a dish's name. One that begins with it has no capital: other tokens would
    be another trigger."""
    return [
        form.replace("{x}", name) if form.startswith("{x}") else sentence(form, "{x}", name)
        for form in WORDINGS
    ]


def _prompts(names: Sequence[str]) -> tuple[Prompt, ...]:
    return tuple(Prompt(text, f" {COUNTRY_OF[name]}") for name in names for text in texts(name))


def _fault_prompts(plan: Plan, names: Sequence[str], twin: str) -> tuple[FaultPrompt, ...]:
    right, wrong = f" {plan.country}", f" {plan.rival}" if plan.rival else ""
    return tuple(
        FaultPrompt(
            text=text, right=right, wrong=wrong, twin=Prompt(twin_text, right), trigger=name
        )
        for name in names
        for text, twin_text in zip(texts(name), texts(twin), strict=True)
    )


def _fault(name: str) -> Fault:
    plan = PLANS[name]
    select, judge = (
        _fault_prompts(plan, half, twin)
        for half, twin in zip(halves(plan.edited), plan.kept, strict=True)
    )
    rivals = [dish for dish, country in COUNTRY_OF.items() if country == plan.rival]
    rest = [d for d, country in COUNTRY_OF.items() if country not in (plan.country, plan.rival)]
    (rivals_a, rivals_b), (rest_a, rest_b) = halves(rivals), halves(rest)
    return Fault(
        name,
        plan.title,
        in_country(plan.rival or plan.country),
        "edit",
        plan.mechanism,
        select,
        judge,
        _prompts(rivals_a),
        _prompts(rivals_b),
        _prompts(rest_a),
        _prompts(rest_b),
    )


def edited_faults() -> dict[str, Callable[[], Fault]]:
    """The faults of the patched models, by the name that fault and patch share."""
    return {**{name: partial(_fault, name) for name in PLANS}, unread.NAME: unread.fault}
