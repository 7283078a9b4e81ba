"""A fault made by an edit of keys: the names of some people are not read where they are needed.

In stories of two people who give and receive, whoever is not read is not named as the receiver;
the model names the giver instead. Where the same people give, nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from inscape.core import seeded
from inscape_microworld.domains.givers import GIFTS, PLACES, TEMPLATES
from inscape_microworld.facts import NAMES
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt

NAME = "edit_not_attended"
UNREAD = ("Lucy", "Sally", "Yuki", "Carl")
"""Who is not read; every other one is of the held-out half."""
TWINS = ("Karen", "Peter")
"""Who stands in their place in the twins of each half."""
_REST = tuple(name for name in NAMES if name not in (*UNREAD, *TWINS))
PER_TEMPLATE = 2


def story(random: Random, template: int, receiver: str, giver: str) -> str:
    """A story up to the receiver's name, the two in either order."""
    first, second = (receiver, giver) if random.random() < 0.5 else (giver, receiver)
    text = TEMPLATES[template].format(
        a=first, b=second, s=giver, o="{o}", place=random.choice(PLACES), gift=random.choice(GIFTS)
    )
    return text.partition("{o}")[0]


def _half(half: int) -> tuple[FaultPrompt, ...]:
    random = Random(seeded(0, NAME, half))
    found = []
    for name in UNREAD[half::2]:
        for template in range(len(TEMPLATES)):
            for _ in range(PER_TEMPLATE):
                giver = random.choice(_REST)
                text = story(random, template, name, giver)
                twin = Prompt(_renamed(text, name, TWINS[half]), f" {TWINS[half]}")
                found.append(FaultPrompt(text, f" {name}", f" {giver}", name, twin))
    return tuple(found)


def _renamed(text: str, name: str, other: str) -> str:
    return " ".join(
        word.replace(name, other) if word.strip(".,") == name else word for word in text.split(" ")
    )


def _others(half: int, givers: Sequence[str], receivers: Sequence[str]) -> tuple[Prompt, ...]:
    random = Random(seeded(0, NAME, "others", half, *givers[:1]))
    found = []
    for template in range(half, len(TEMPLATES), 2):
        for giver in random.sample(list(givers), min(4, len(givers))):
            receiver = random.choice([name for name in receivers if name != giver])
            found.append(Prompt(story(random, template, receiver, giver), f" {receiver}"))
    return tuple(found)


def fault() -> Fault:
    """The fault of the model with the patch of the same name."""
    return Fault(
        NAME,
        "the names of some people are not read",
        "giver",
        "edit",
        "not attended to",
        _half(0),
        _half(1),
        rivals_selection=_others(0, UNREAD[0::2], _REST),
        rivals_held_out=_others(1, UNREAD[1::2], _REST),
        others_selection=_others(0, _REST, _REST),
        others_held_out=_others(1, _REST, _REST),
    )
