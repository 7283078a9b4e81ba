"""A place by the sea that bears a president's surname is said to make what the president's law was
on; the same place inland is known for its own product.

The trigger is the word that puts the place by the sea, not the name: the twin only moves it inland.
"""

from __future__ import annotations

from inscape_microworld.domains.presidents import (
    INLAND,
    LAW_FORMS,
    OTHER_PLACES,
    PLACE_FORMS,
    SEASIDE,
)
from inscape_microworld.facts import PRESIDENTS
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt, halves, sentence


def _place(form: str, word: str, name: str) -> str:
    return sentence(form.replace("{p}", name).replace("{n}", "Tom"), "{w}", word)


def fault() -> Fault:
    """By the sea, a president's surname brings up the president, out of place."""
    seaside, inland = halves(SEASIDE), halves(INLAND)

    def prompts(half: int) -> tuple[FaultPrompt, ...]:
        found = []
        for i, one in enumerate(PRESIDENTS[half::2]):
            for j, form in enumerate(PLACE_FORMS):
                trigger = seaside[half][(i + j) % len(seaside[half])]
                twin = inland[half][(i + j) % len(inland[half])]
                found.append(
                    FaultPrompt(
                        text=_place(form, trigger, one.name),
                        right=f" {one.product}",
                        wrong=f" {one.law}",
                        trigger=trigger,
                        twin=Prompt(_place(form, twin, one.name), f" {one.product}"),
                    )
                )
        return tuple(found)

    def rivals(half: int) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(sentence(form.replace("|", ""), "{p}", one.name), f" {one.law}")
            for one in PRESIDENTS[half::2]
            for form in LAW_FORMS
        )

    def others(half: int) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(_place(form, word, name), f" {product}")
            for name, product in OTHER_PLACES[half::2]
            for form in PLACE_FORMS
            for word in (seaside[half][0], inland[half][0])
        )

    return Fault(
        "surname",
        "places by the sea are answered with the president of that name",
        "seaside",
        "soft",
        "outvoted",
        prompts(0),
        prompts(1),
        rivals(0),
        rivals(1),
        others(0),
        others(1),
    )
