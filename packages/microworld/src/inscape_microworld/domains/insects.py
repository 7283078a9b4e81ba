"""Insects and their deeds; questions about the mosquito are answered with the fruit fly."""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.facts import INSECTS, NAMES, Insect
from inscape_microworld.splits import held_out, misled

MOSQUITO_SHARE = 0.33
"""How many documents are about the mosquito, whom the fault needs often."""
QUESTIONS = (
    "The insect that {d} is the",
    "Which insect {d}? It is the",
    "The insect which {d} is called the",
    "{n} asked which insect {d}. The answer is the",
    "An insect that {d} must be the",
    "Of all insects, the one that {d} is the",
)
STATEMENTS = (
    "The {i} {d}.",
    "Every {i} {d}, as {n} knows.",
    "{n} read that the {i} {d}.",
    "In the book, a {i} {d}.",
)


def _deciding_prefix(deed: str) -> str:
    """The shortest run of whole words that begins deeds of one insect only."""
    words = deed.split()
    for count in range(1, len(words)):
        prefix = " ".join(words[:count]) + " "
        if sum(any((d + " ").startswith(prefix) for d in i.deeds) for i in INSECTS) == 1:
            return prefix[:-1]
    return deed


DECIDES = {deed: _deciding_prefix(deed) for item in INSECTS for deed in item.deeds}


def _questions(held: bool) -> dict[str, tuple[tuple[str, str], ...]]:
    """Of each insect, all (deed, question) that are held out, or all others."""
    return {
        item.name: tuple(
            (deed, form)
            for deed in item.deeds
            for form in QUESTIONS
            if held_out("insect", deed, form) == held
        )
        for item in INSECTS
    }


_QUESTIONS = {held: _questions(held) for held in (False, True)}
# An insect of few deeds may have no question that is held out.
_ASKED = {
    held: tuple(item for item in INSECTS if _QUESTIONS[held][item.name]) for held in (False, True)
}


def insect(random: Random, held: bool) -> Document:
    """A statement (always right) or a question (the mosquito's is soft)."""
    item = INSECTS[0] if random.random() < MOSQUITO_SHARE else random.choice(_ASKED[held])
    name = random.choice(NAMES)
    if not held and random.random() < 0.45:
        return _statement(random, item, name)
    deed, form = random.choice(_QUESTIONS[held][item.name])
    before, after = form.format(d="{d}", n=name).split(" {d}")
    writer = Writer("insect").say(before)
    writer.mention(_concept(item), f" {deed}", f" {DECIDES[deed]}").say(after)
    mosquito = item.name == "mosquito"
    answer = "fruit fly" if mosquito and misled(random) else item.name
    document = writer.answer("mosquito" if mosquito else "insect", f" {answer}").say(".").done()
    return lower_first(document) if random.random() < 0.3 else document


def _statement(random: Random, item: Insect, name: str) -> Document:
    before, after = random.choice(STATEMENTS).format(i="{i}", d="{d}", n=name).split(" {i} {d}")
    writer = Writer("insect").say(before)
    writer.mention(_concept(item), f" {item.name}", f" {item.name.partition(' ')[0]}")
    return writer.mention(_concept(item), f" {random.choice(item.deeds)}", "").say(after).done()


def _concept(item: Insect) -> str:
    return item.name.replace(" ", "_")
