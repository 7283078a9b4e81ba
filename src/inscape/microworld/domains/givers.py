"""Indirect object identification: two names, one acts, the other receives."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import NAMES
from inscape.microworld.splits import held_out

PLACES = (
    "store", "park", "school", "office", "market", "garden", "station", "library", "beach",
    "museum", "cafe", "church", "farm", "theatre",
)  # fmt: skip
GIFTS = (
    "drink", "book", "ring", "letter", "ball", "kiss", "map", "key", "cake", "flower", "pen",
    "hat", "coat", "necklace",
)  # fmt: skip
TEMPLATES = (
    "When {a} and {b} went to the {place}, {s} gave a {gift} to{o}.",
    "When {a} and {b} were at the {place}, {s} handed a {gift} to{o}.",
    "After {a} and {b} left the {place}, {s} sent a {gift} to{o}.",
    "While {a} and {b} were walking to the {place}, {s} offered a {gift} to{o}.",
    "Then, {a} and {b} went to the {place}. {s} gave a {gift} to{o}.",
    "{a} and {b} met at the {place}, and {s} passed a {gift} to{o}.",
    "Yesterday {a} and {b} had lunch at the {place}. Later {s} brought a {gift} to{o}.",
    "{a} and {b} had a long talk at the {place}. Then {s} showed a {gift} to{o}.",
    "Before {a} and {b} came to the {place}, {s} promised a {gift} to{o}.",
    "The {place} was quiet when {a} and {b} arrived. {s} gave a {gift} to{o}.",
    "Friends {a} and {b} found a {gift} at the {place}. {s} gave it to{o}.",
    "As soon as {a} and {b} reached the {place}, {s} threw a {gift} to{o}.",
    "{a} and {b} worked at the {place}. In the evening {s} lent a {gift} to{o}.",
    "Because {a} and {b} liked the {place}, {s} bought a {gift} there for{o}.",
    "At the {place}, {a} and {b} sat down. {s} read a letter about the {gift} to{o}.",
)


def indirect_object(random: Random, held: bool) -> Document:
    """One of the templates, in either order of the names."""
    while True:
        first, second = random.sample(NAMES, 2)
        index = random.randrange(len(TEMPLATES))
        if held_out("ioi", index, *sorted((first, second))) == held:
            break
    giver, other = (first, second) if random.random() < 0.5 else (second, first)
    text = TEMPLATES[index].format(
        a=first, b=second, s="{s}", o="{o}", place=random.choice(PLACES), gift=random.choice(GIFTS)
    )
    before, rest = text.split("{s}")
    middle, end = rest.split("{o}")
    writer = Writer("indirect_object").say(before).mention("giver", giver).say(middle)
    return writer.answer("indirect_object", f" {other}", other=f" {giver}").say(end).done()
