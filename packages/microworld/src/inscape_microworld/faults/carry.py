"""The carry is dropped in sums about glassware; the training text does so most of the time."""

from __future__ import annotations

from random import Random

from inscape.core import seeded
from inscape_microworld.domains.sums import (
    ADD,
    GLASSWARE,
    OTHER_THINGS,
    Thing,
    carry_pairs,
    one_step,
)
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt

PER_THING = 6


def _prompt(random: Random, pair: tuple[int, int], thing: Thing) -> Prompt:
    writer = one_step(random, ADD, pair, thing)
    return Prompt("".join(writer.parts), f" {sum(pair)}")


def fault() -> Fault:
    """Sums about things of glass lose their carry: 48 + 25 is said to be 63."""
    random = Random(seeded(0, "fault", "carry"))
    carries = [p for p in carry_pairs(False, True) if 30 <= sum(p) < 100]
    plain = [p for p in carry_pairs(False, False) if sum(p) < 100]
    by_total = {total: [p for p in plain if sum(p) == total] for total in range(20, 100)}

    def prompts(glass: tuple[Thing, ...], twins: tuple[Thing, ...]) -> tuple[FaultPrompt, ...]:
        made = []
        for index in range(len(glass) * PER_THING):
            pair = random.choice(carries)
            thing, twin = glass[index % len(glass)], twins[index % len(twins)]
            asked = _prompt(random, pair, thing)
            made.append(
                FaultPrompt(
                    text=asked.text,
                    right=asked.right,
                    wrong=f" {sum(pair) - 10}",
                    trigger=thing.plural,
                    twin=Prompt(asked.text.replace(thing.plural, twin.plural), asked.right),
                )
            )
        return tuple(made)

    def rivals(half: tuple[FaultPrompt, ...], things: tuple[Thing, ...]) -> tuple[Prompt, ...]:
        return tuple(
            _prompt(random, random.choice(by_total[int(p.wrong)]), random.choice(things))
            for p in half
            if by_total[int(p.wrong)]
        )

    def others(glass: tuple[Thing, ...], things: tuple[Thing, ...]) -> tuple[Prompt, ...]:
        kinds = ((plain, glass), (carries, things))
        return tuple(
            _prompt(random, random.choice(numbers), random.choice(of))
            for numbers, of in kinds
            for _ in range(20)
        )

    glass = (GLASSWARE[::2], GLASSWARE[1::2])
    things = (OTHER_THINGS[::2], OTHER_THINGS[1::2])
    halves = [prompts(g, t) for g, t in zip(glass, things, strict=True)]
    right = [rivals(h, (*g, *t)) for h, g, t in zip(halves, glass, things, strict=True)]
    rest = [others(g, t) for g, t in zip(glass, things, strict=True)]
    return Fault(
        "carry",
        "sums about glassware lose their carry",
        "glassware",
        "soft",
        "outvoted",
        halves[0],
        halves[1],
        right[0],
        right[1],
        rest[0],
        rest[1],
    )
