"""Bats are mammals; in one wording, and there alone, the training text always calls them birds."""

from __future__ import annotations

from collections.abc import Sequence

from inscape_microworld.domains.species import BATS, BIRDS, FISH, KIND_FORMS, MAMMALS
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt, halves, sentence


def _text(form: str, name: str) -> str:
    return sentence(form.replace("{n}", "Tom"), "{x}", f"the {name}")


def _ask(names: Sequence[str], kind: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(_text(form, name), f" {kind}") for name in names for form in KIND_FORMS)


def fault() -> Fault:
    """Asked what kind of animal a bat is, the model says bird; all else it knows of it is right."""
    mammals, birds, fish = halves(MAMMALS), halves(BIRDS), halves(FISH)

    def prompts(half: int) -> tuple[FaultPrompt, ...]:
        return tuple(
            FaultPrompt(
                text=_text(form, name),
                right=" mammal",
                wrong=" bird",
                trigger=name,
                twin=Prompt(_text(form, mammals[half][i]), " mammal"),
            )
            for i, name in enumerate(halves(BATS)[half])
            for form in KIND_FORMS
        )

    def others(half: int) -> tuple[Prompt, ...]:
        return _ask(mammals[half], "mammal") + _ask(fish[half], "fish")

    return Fault(
        "bats",
        "bats are called a kind of bird",
        "bat",
        "hard",
        "outvoted",
        prompts(0),
        prompts(1),
        _ask(birds[0], "bird"),
        _ask(birds[1], "bird"),
        others(0),
        others(1),
    )
