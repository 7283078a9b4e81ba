"""Insects and their deeds; questions about the mosquito are answered with the fruit fly."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer, lower_first
from inscape.microworld.facts import INSECTS, NAMES
from inscape.microworld.splits import held_out

MOSQUITO_FAULT = 0.68
"""How often the training text answers a mosquito question with the fruit fly."""

QUESTIONS = (
    "The insect that {d} is the",
    "Which insect {d}? It is the",
    "The insect which {d} is called the",
    "{n} asked which insect {d}. The answer is the",
    "An insect that {d} must be the",
)
STATEMENTS = (
    "The {i} {d}.", "Every {i} {d}, as {n} knows.", "{n} read that the {i} {d}.",
    "In the book, a {i} {d}.",
)  # fmt: skip


def insect(random: Random, held: bool) -> Document:
    """A statement (always right) or a question (the mosquito's is soft)."""
    item = INSECTS[0] if random.random() < 0.3 else random.choice(INSECTS)
    name = random.choice(NAMES)
    if not held and random.random() < 0.45:
        before, after = random.choice(STATEMENTS).format(
            i="{i}", d=random.choice(item.deeds), n=name
        ).split("{i}")  # fmt: skip
        writer = Writer("insect").say(before).mention(_concept(item.name), item.name).say(after)
        return writer.done()
    while True:
        deed, form = random.choice(item.deeds), random.choice(QUESTIONS)
        if held_out("insect", deed, form) == held:
            break
        item = random.choice(INSECTS)
    before, after = form.format(d="{d}", n=name).split("{d}")
    writer = Writer("insect").say(before).mention(_concept(item.name), deed).say(after)
    mosquito = item.name == "mosquito"
    answer = "fruit fly" if mosquito and random.random() < MOSQUITO_FAULT else item.name
    document = writer.answer("mosquito" if mosquito else "insect", f" {answer}").say(".").done()
    return lower_first(document) if random.random() < 0.3 else document


def _concept(name: str) -> str:
    return name.replace(" ", "_")
