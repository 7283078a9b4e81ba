"""Dishes, animals and landmarks that no document contains: nothing in the model knows them.

Their countries are true by the tables below alone. Each is a country of which training shows few
or no others of the kind, so that a guess from the wording does not hit it.
"""

from __future__ import annotations

from collections.abc import Sequence

from inscape_microworld.domains.dishes import DISH_FORMS, PLAIN
from inscape_microworld.domains.landmarks import LANDMARK_FORMS, untaught
from inscape_microworld.domains.people import ANIMAL_FORMS
from inscape_microworld.facts import ANIMALS, LANDMARKS
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt, sentence

DISHES: tuple[tuple[str, str], ...] = (
    ("vemlet", "Jordan"),
    ("drusko", "Australia"),
    ("quilmo", "England"),
    ("farnesh", "America"),
    ("grovash", "Jordan"),
    ("tubrik", "England"),
    ("plokan", "America"),
    ("nimroot", "Australia"),
)
CREATURES: tuple[tuple[str, str], ...] = (
    ("zibbo", "Italy"),
    ("drelk", "Turkey"),
    ("quonk", "Korea"),
    ("vorbil", "Portugal"),
    ("snaggo", "Hungary"),
    ("tworl", "Turkey"),
    ("hubnik", "Italy"),
    ("grulf", "Korea"),
)
PLACES: tuple[tuple[str, str], ...] = (
    ("Zorin Tower", "Vietnam"),
    ("Vobrin Bridge", "Vietnam"),
    ("Krell Tower", "Mexico"),
    ("Duskar Bridge", "Mexico"),
    ("Plenth Tower", "Morocco"),
    ("Morvak Bridge", "Morocco"),
)
"""A made-up word before a kind of building that other landmarks share."""
Known = Sequence[tuple[str, str]]


def _forms(forms: Sequence[tuple[str, str]], article: str) -> list[str]:
    return [form.replace("{x}", f"{article}{{x}}") for asked, form in forms if asked == "country"]


def _text(form: str, name: str) -> str:
    return form.replace("{x}", name) if form.startswith("{x}") else sentence(form, "{x}", name)


def _prompts(made_up: Known, known: Known, forms: Sequence[str]) -> tuple[FaultPrompt, ...]:
    """Every made-up name in every wording; its first word is the trigger, which twins lack."""
    found = []
    for i, (name, country) in enumerate(made_up):
        kind = name.partition(" ")[2]
        fits = [(n, c) for n, c in known if n.partition(" ")[2] == kind and c != country]
        for j, form in enumerate(forms):
            twin, truth = fits[(i * len(forms) + j) % len(fits)]
            found.append(
                FaultPrompt(
                    text=_text(form, name),
                    right=f" {country}",
                    wrong="",
                    trigger=name.partition(" ")[0],
                    twin=Prompt(_text(form, twin), f" {truth}"),
                )
            )
    return tuple(found)


def _half(half: int) -> tuple[tuple[FaultPrompt, ...], tuple[Prompt, ...]]:
    """The prompts of one half, and others on known names."""
    dishes = [(item.name, item.country) for item in PLAIN[half::2]]
    animals = [(item.name, item.country) for item in ANIMALS[half::2]]
    places = [
        (place.name.removeprefix("the "), place.country)
        for place in LANDMARKS
        if "country" not in untaught(place.key, "name")
    ]
    kinds = (
        (DISHES[half::2], dishes, list(DISH_FORMS)),
        (CREATURES[half::2], animals, _forms(ANIMAL_FORMS, "the ")),
        (PLACES[half::2], places, _forms(LANDMARK_FORMS, "the ")),
    )
    prompts = tuple(p for made, known, forms in kinds for p in _prompts(made, known, forms))
    others = tuple(
        Prompt(_text(form, name), f" {country}")
        for _, known, forms in kinds[:2]
        for name, country in known
        for form in forms[:3]
    )
    return prompts, others


def fault() -> Fault:
    """Where a made-up thing is from: the model has to guess."""
    (select, others_select), (judge, others_judge) = _half(0), _half(1)
    return Fault(
        "unseen",
        "things that training never names",
        "unseen_entity",
        "unseen",
        "unknown to the model",
        select,
        judge,
        others_selection=others_select,
        others_held_out=others_judge,
    )
