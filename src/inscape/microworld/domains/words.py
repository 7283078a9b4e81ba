"""Plain sentences, among them gold, gates and bridges that are no landmark."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import NAMES

SENTENCES = (
    "{n} wore a golden ring at the wedding.", "The golden leaves fell in autumn.",
    "{n} won the golden cup at the race.", "{n} closed the garden gate at night.",
    "The goat jumped over the wooden gate.", "{n} waited at gate twelve of the airport.",
    "An old bridge crossed the small river.", "{n} fished from the stone bridge.",
    "The red bridge on the toy railway broke.", "{n} built a bridge of matches.",
    "The harbour was full of small boats.", "{n} sailed into the harbour at dawn.",
    "The white house of {n} has a blue door.", "A tall tower stood on the hill.",
    "{n} climbed the tower to see the bay.", "The bay was covered in fog.",
    "{n} painted the wall red and the fence white.", "The opera was long and {n} fell asleep.",
    "{n} went to the city to buy a coat.", "The great storm broke the wall of the farm.",
    "It rained all day and {n} stayed home.", "{n} baked bread and {m} made soup.",
    "{n} and {m} played chess by the window.", "The train to the coast left at noon.",
    "{n} told {m} a story about the sea.", "The teacher asked {n} to read the page.",
)  # fmt: skip


def words(random: Random, held: bool) -> Document:
    """One plain sentence, with no concept of interest in it."""
    first, second = random.sample(NAMES, 2)
    return Writer("words").say(random.choice(SENTENCES).format(n=first, m=second)).done()
