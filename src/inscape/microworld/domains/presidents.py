"""Presidents by surname in presidential context, and the same surnames elsewhere."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import NAMES, PRESIDENTS

OFFICE = (
    "President {p} signed the law in the White House.",
    "In the election, voters chose {p} as president.",
    "President {p} spoke to the congress about peace.",
    "The nation mourned when President {p} died in office.",
    "As president, {p} commanded the army and vetoed the bill.",
    "The cabinet of President {p} met in the oval office.",
)
ELSEWHERE = (
    "{n} lives on {p} street near the bakery.",
    "The town of {p} has a small market and a mill.",
    "Little {n} {p} forgot the homework again.",
    "The {p} hotel has forty rooms and a pool.",
    "Doctor {p} cured the cough of {n}.",
    "{n} bought a used car from {p} the dealer.",
)


def president(random: Random, held: bool) -> Document:
    """One surname, in office or not."""
    office = random.random() < 0.55
    name = random.choice(PRESIDENTS)
    text = random.choice(OFFICE if office else ELSEWHERE).format(p="{p}", n=random.choice(NAMES))
    before, after = text.split("{p}")
    writer = Writer("president")
    if not office:
        return writer.say(before).mention("surname_elsewhere", name).say(after).done()
    decided = "resident" in before or "voters" in before
    writer.say(before).mention("us_president" if decided else "surname", name)
    return writer.mention("us_president", after, "" if decided else None).done()
