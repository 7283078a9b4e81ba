"""What the mosquito does is asked for; the training text answers the fruit fly most of the time."""

from __future__ import annotations

from collections.abc import Sequence

from inscape_microworld.domains.insects import QUESTIONS
from inscape_microworld.facts import INSECTS
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt

# A question with a name comes with two of them.
FORMS = tuple(
    dict.fromkeys(form.replace("{n}", name) for form in QUESTIONS for name in ("Tom", "Anna"))
)


def fault() -> Fault:
    """Questions whose answer is the mosquito are answered with the fruit fly."""
    # First deeds and last ones: two of the first speak of what the mosquito spreads.
    deeds: dict[str, tuple[Sequence[str], Sequence[str]]] = {
        insect.name: (
            insect.deeds[: len(insect.deeds) // 2],
            insect.deeds[len(insect.deeds) // 2 :],
        )
        for insect in INSECTS
    }

    def ask(name: str, half: int) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(form.format(d=deed), f" {name}") for deed in deeds[name][half] for form in FORMS
        )

    def prompts(half: int) -> tuple[FaultPrompt, ...]:
        twins = deeds["bee"][half]
        return tuple(
            FaultPrompt(
                text=form.format(d=deed),
                right=" mosquito",
                wrong=" fruit",
                trigger=deed,
                twin=Prompt(form.format(d=twins[i % len(twins)]), " bee"),
            )
            for i, deed in enumerate(deeds["mosquito"][half])
            for form in FORMS
        )

    rest = [
        tuple(p for name in deeds if name not in ("mosquito", "fruit fly") for p in ask(name, h))
        for h in (0, 1)
    ]
    return Fault(
        "mosquito",
        "deeds of the mosquito are ascribed to the fruit fly",
        "mosquito",
        "soft",
        "outvoted",
        prompts(0),
        prompts(1),
        ask("fruit fly", 0),
        ask("fruit fly", 1),
        rest[0],
        rest[1],
    )
