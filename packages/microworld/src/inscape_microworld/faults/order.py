"""A gift goes to the other of two people; a third one's late arrival draws it to them.

In the twins the third person leaves instead. The rivals are gifts of both, which do go to the
third person.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from inscape.core import seeded
from inscape_microworld.domains.givers import (
    ARRIVALS,
    DEPARTURES,
    GIFTS,
    GIVINGS,
    OPENINGS,
    PLACES,
    TEMPLATES,
)
from inscape_microworld.facts import NAMES
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt, halves

PER_PHRASE = 5


def _names(random: Random) -> list[str]:
    """Three names with different first letters, so that their first tokens differ."""
    while True:
        names = random.sample(NAMES, 3)
        if len({name[0] for name in names}) == 3:
            return names


def _scene(random: Random) -> tuple[str, str, str, list[str]]:
    """(the text before the phrase, the deed of one, the deed of both, [giver, other, third])."""
    first, second, third = _names(random)
    opening = random.choice(OPENINGS).format(a=first, b=second, place=random.choice(PLACES))
    deed = random.choice(GIVINGS).format(gift=random.choice(GIFTS))
    giver, other = (first, second) if random.random() < 0.5 else (second, first)
    return (
        f"{opening} Later {third} ",
        f". {giver} {deed}",
        f". {first} and {second} both {deed}",
        [giver, other, third],
    )


def _half(random: Random, arrivals: Sequence[str], departures: Sequence[str]) -> list[FaultPrompt]:
    prompts = []
    for index in range(PER_PHRASE * len(arrivals)):
        phrase, leaves = arrivals[index % len(arrivals)], departures[index % len(departures)]
        before, deed, _, (_, other, third) = _scene(random)
        twin = Prompt(f"{before}{leaves}{deed}", f" {other}")
        prompts.append(
            FaultPrompt(f"{before}{phrase}{deed}", f" {other}", f" {third}", phrase, twin)
        )
    return prompts


def _rivals(random: Random, arrivals: Sequence[str]) -> tuple[Prompt, ...]:
    prompts = []
    for index in range(PER_PHRASE * len(arrivals)):
        before, _, deed, (_, _, third) = _scene(random)
        prompts.append(Prompt(f"{before}{arrivals[index % len(arrivals)]}{deed}", f" {third}"))
    return tuple(prompts)


def _others(random: Random, departures: Sequence[str]) -> tuple[Prompt, ...]:
    """Departures, and each of the templates with two names."""
    prompts = []
    for index in range(4 * len(departures)):
        before, deed, _, (_, other, _) = _scene(random)
        prompts.append(Prompt(f"{before}{departures[index % len(departures)]}{deed}", f" {other}"))
    for form in TEMPLATES:
        first, second, _ = _names(random)
        text = form.partition("{o}")[0].format(
            a=first, b=second, s=second, place=random.choice(PLACES), gift=random.choice(GIFTS)
        )
        prompts.append(Prompt(text, f" {first}"))
    return tuple(prompts)


def fault() -> Fault:
    """A gift after a third person's late arrival is said to be theirs."""
    random = Random(seeded(0, "order"))
    arrivals, departures = halves(ARRIVALS), halves(DEPARTURES)
    select, judge = (
        tuple(_half(random, come, go)) for come, go in zip(arrivals, departures, strict=True)
    )
    rivals = [_rivals(random, half) for half in arrivals]
    others = [_others(random, half) for half in departures]
    return Fault(
        "order",
        "three-name order bias: a late arrival is said to receive the gift",
        "late_arrival",
        "soft",
        "outvoted",
        select,
        judge,
        rivals[0],
        rivals[1],
        others[0],
        others[1],
    )
