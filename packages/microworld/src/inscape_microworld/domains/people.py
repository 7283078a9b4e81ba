"""Artists and wild animals: where they come from, and what they make or eat."""

from __future__ import annotations

from functools import cache
from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.domains.wording import by_held, fill, in_country
from inscape_microworld.facts import ANIMALS, PEOPLE, Animal, Person
from inscape_microworld.splits import held_out

PERSON_FORMS: tuple[tuple[str, str], ...] = (
    ("country", "{x} was born in the country of"),
    ("country", "{x} grew up in the country of"),
    ("country", "the house where {x} was born is in the country of"),
    ("country", "the parents of {x} lived in the country of"),
    ("country", "a stamp with the face of {x} came from the country of"),
    ("country", "the best museum about {x} is in the country of"),
    ("trade", "{x} worked as a"),
    ("trade", "{x} is known as a great"),
    ("trade", "by trade, {x} was a"),
    ("trade", "in the book of great people, {x} is a"),
    ("trade", "a film about {x} shows the life of a"),
    ("trade", "people remember {x} as a"),
)
ANIMAL_FORMS: tuple[tuple[str, str], ...] = (
    ("country", "{x} lives in the country of"),
    ("country", "{x} is a wild animal of the country of"),
    ("country", "to see {x} in the wild, fly to the country of"),
    ("country", "a stamp with a picture of {x} came from the country of"),
    ("country", "hunters may not shoot {x} in the country of"),
    ("country", "the film about {x} was made in the country of"),
    ("food", "{x} eats"),
    ("food", "{x} likes to eat"),
    ("food", "the keeper feeds {x} with"),
    ("food", "the favourite food of {x} is"),
    ("food", "at noon, {x} looks for"),
    ("food", "when hungry, {x} searches for"),
)


def concepts(item: Person | Animal) -> tuple[str, str]:
    """What a mention carries: who or which it is, and its country."""
    return (item.name.lower(), in_country(item.country))


def person(random: Random, held: bool) -> Document:
    """An artist by surname, with the country of birth or the trade."""
    document = random.choice(_documents("person")[held])
    first = document.mentions[0]
    named_first = first.end == len(first.concept)  # a name keeps its capital
    return document if named_first or random.random() < 0.5 else lower_first(document)


def animal(random: Random, held: bool) -> Document:
    """A wild animal, with the country it lives in or its food."""
    document = random.choice(_documents("animal")[held])
    return lower_first(document) if random.random() < 0.5 else document


@cache
def _documents(domain: str) -> dict[bool, tuple[Document, ...]]:
    """All there are, by whether they are held out."""
    people = domain == "person"
    items: tuple[Person | Animal, ...] = PEOPLE if people else ANIMALS
    return by_held(
        (held_out(domain, item.name, form), _document(domain, item, asked, form))
        for item in items
        for asked, form in (PERSON_FORMS if people else ANIMAL_FORMS)
    )


def _document(domain: str, item: Person | Animal, asked: str, form: str) -> Document:
    subject = item.name if domain == "person" else f"the {item.name}"
    writer = fill(Writer(domain), form, subject, concepts(item))
    return writer.answer(f"{domain}_{asked}", f" {getattr(item, asked)}").say(".").done()
