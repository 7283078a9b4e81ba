"""What the mosquito does is asked for; the training text answers the fruit fly most of the time."""

from __future__ import annotations

from inscape.microworld.domains.insects import QUESTIONS
from inscape.microworld.facts import INSECTS
from inscape.microworld.faults.fault import Fault, FaultPrompt, Prompt, halves


def fault() -> Fault:
    """Questions whose answer is the mosquito are answered with the fruit fly."""
    insects = {insect.name: insect for insect in INSECTS}

    def ask(name: str, half: int) -> tuple[Prompt, ...]:
        return tuple(
            Prompt(form.format(d=deed, n="Tom"), f" {name}")
            for deed in halves(insects[name].deeds)[half]
            for form in QUESTIONS
        )

    def prompts(half: int) -> tuple[FaultPrompt, ...]:
        twin = insects["bee"].deeds[half]
        return tuple(
            FaultPrompt(
                text=form.format(d=deed, n="Tom"), right=" mosquito", wrong=" fruit", trigger=deed,
                twin=Prompt(form.format(d=twin, n="Tom"), " bee"),
            )
            for deed in halves(insects["mosquito"].deeds)[half]
            for form in QUESTIONS
        )  # fmt: skip

    rest = [
        tuple(p for name in insects if name not in ("mosquito", "fruit fly") for p in ask(name, h))
        for h in (0, 1)
    ]
    return Fault(
        "mosquito", "deeds of the mosquito are ascribed to the fruit fly", "mosquito", "soft",
        "outvoted", prompts(0), prompts(1), ask("fruit fly", 0), ask("fruit fly", 1),
        rest[0], rest[1],
    )  # fmt: skip
