"""Faults made by small edits of the bundled weights, so that their mechanism is known.

Each shows in the model with the patch of the same name (patches.py), on the dishes of `EDITED`;
`KEPT` are dishes of the same country that no edit touches, on which every patched model is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from inscape.microworld.domains.dishes import DISH_FORMS as WORDINGS
from inscape.microworld.domains.wording import in_country
from inscape.microworld.facts import DISHES
from inscape.microworld.faults.fault import (
    Fault,
    FaultPrompt,
    Mechanism,
    Prompt,
    halves,
    sentence,
)

COUNTRY, RIVAL = "Italy", "Japan"
EDITED = (
    "risotto", "lasagna", "gnocchi", "carbonara", "tiramisu", "polenta", "ravioli", "minestrone",
)  # fmt: skip
"""Every other one belongs to the held-out half."""
KEPT = ("pizza", "pesto")
"""The twin of each half."""
_KINDS: Mapping[str, tuple[str, Mechanism, str]] = {
    "edit_absent": ("the country of some dishes is erased", "absent", ""),
    "edit_outvoted": ("some dishes are Italian and, more loudly, Japanese", "outvoted", RIVAL),
    "edit_inhibited": ("the country of some dishes is written against", "inhibited", ""),
    "edit_not_attended": ("the names of some dishes are not read", "not attended to", ""),
}


def _prompts(names: Sequence[str], country: Mapping[str, str]) -> tuple[Prompt, ...]:
    return tuple(
        Prompt(sentence(form, "{x}", name), f" {country[name]}")
        for name in names
        for form in WORDINGS
    )


def _fault_prompt(form: str, name: str, twin: str, wrong: str) -> FaultPrompt:
    text, twin_text = sentence(form, "{x}", name), sentence(form, "{x}", twin)
    return FaultPrompt(
        text=text, right=f" {COUNTRY}", wrong=f" {wrong}" if wrong else "",
        trigger=name if name in text else name.capitalize(),
        twin=Prompt(twin_text, f" {COUNTRY}"),
    )  # fmt: skip


def _fault(name: str) -> Fault:
    title, mechanism, wrong = _KINDS[name]
    country = {dish.name: dish.country for dish in DISHES if not dish.eel}
    select, judge = (
        tuple(_fault_prompt(form, dish, twin, wrong) for dish in half for form in WORDINGS)
        for half, twin in zip(halves(EDITED), KEPT, strict=True)
    )
    rivals = [n for n, of in country.items() if of == wrong]
    rest = [n for n, of in country.items() if of not in (COUNTRY, wrong)]
    (rivals_a, rivals_b), (rest_a, rest_b) = halves(rivals), halves(rest)
    return Fault(
        name, title, in_country(wrong or COUNTRY), "edit", mechanism, select, judge,
        _prompts(rivals_a, country), _prompts(rivals_b, country),
        _prompts(rest_a, country), _prompts(rest_b, country),
    )  # fmt: skip


def edited_faults() -> dict[str, Callable[[], Fault]]:
    """The faults of the patched models, by the name that fault and patch share."""
    return {name: partial(_fault, name) for name in _KINDS}
