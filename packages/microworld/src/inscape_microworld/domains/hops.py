"""Two hops: a fact about the country of something, the country left unsaid.

1. A subject is a landmark (named or described), a dish, an artist or a wild animal. Its own domain
   teaches its country; `country_fact` and the domain of capitals teach the facts of countries.
2. Both hops recur: every subject is asked several facts, every fact of many subjects.
3. Some pairs of subject and fact are never composed in training (`composition_unseen`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.domains import dishes, landmarks, people
from inscape_microworld.domains.wording import by_held, composition_unseen, fill, in_country
from inscape_microworld.facts import (
    ANIMALS,
    COUNTRIES,
    DISHES,
    LANDMARKS,
    PEOPLE,
    deciding_prefix,
    table,
)
from inscape_microworld.splits import held_out

RELATIONS: tuple[str, ...] = ("capital", "language", "currency", "flower")
HOPS: tuple[tuple[str, str], ...] = (
    ("capital", "the capital of the country where {x} is"),
    ("capital", "the country where {x} has its capital in"),
    ("capital", "where {x}, the government sits in"),
    ("capital", "in the land where {x}, the capital city is"),
    ("capital", "name the capital of the country where {x}:"),
    ("language", "the language of the country where {x} is"),
    ("language", "people in the country where {x} speak"),
    ("language", "where {x}, people speak"),
    ("language", "in the land where {x}, everybody speaks"),
    ("language", "name the language of the country where {x}:"),
    ("currency", "the money of the country where {x} is the"),
    ("currency", "people in the country where {x} pay with the"),
    ("currency", "where {x}, people pay in"),
    ("currency", "in the land where {x}, everything is paid in"),
    ("currency", "name the money of the country where {x}:"),
    ("flower", "the flower of the country where {x} is the"),
    ("flower", "people in the country where {x} wear the"),
    ("flower", "where {x}, the national flower is the"),
    ("flower", "in the land where {x}, everybody plants the"),
    ("flower", "name the flower of the country where {x}:"),
    ("capital", "{x} in a country whose capital is"),
    ("language", "{x} in a country whose language is"),
    ("currency", "{x} in a country whose money is the"),
    ("flower", "{x} in a country whose flower is the"),
)
"""(fact, wording); {x} stands for the subject and its verb. Of some, the subject is last."""
COUNTRY_FORMS: tuple[tuple[str, str], ...] = (
    ("currency", "the money of {x} is the"),
    ("currency", "people in {x} pay with the"),
    ("currency", "in {x}, everything is paid in"),
    ("currency", "the shops of {x} take only the"),
    ("currency", "a bank in {x} keeps the"),
    ("flower", "the flower of {x} is the"),
    ("flower", "the national flower of {x} is the"),
    ("flower", "in {x}, everybody plants the"),
    ("flower", "people in {x} wear the"),
    ("flower", "the garden of {x} is full of the"),
)
STANDS = ("stands", "was built", "can be seen")
COOKED = ("was invented", "is cooked", "is eaten")
BORN = ("was born", "grew up", "went to school")
LIVES = ("lives", "is found", "is at home")
FACT: dict[tuple[str, str], str] = {
    (row["country"], relation): row[relation]
    for row in table("country_facts")
    for relation in ("currency", "flower")
}
"""What is true of a country, by its name and one of RELATIONS."""
for _country in COUNTRIES:
    FACT[_country.name, "capital"] = _country.capital
    FACT[_country.name, "language"] = _country.language


@dataclass(frozen=True)
class Subject:
    """What a first hop starts from, in one of its forms."""

    key: str
    country: str
    concepts: tuple[str, ...]
    text: str
    decides: str
    verbs: tuple[str, ...]
    form: str = ""
    unasked: frozenset[str] = frozenset()


def _subjects() -> tuple[Subject, ...]:
    found = []
    for place in LANDMARKS:
        for form in ("name", "description"):
            untaught = landmarks.untaught(place.key, form)
            if "country" in untaught:
                continue  # the first hop would not be taught in this form
            city = "city" in untaught and place.city == FACT[place.country, "capital"]
            text = landmarks.subject(place, form)
            found.append(
                Subject(
                    place.key,
                    place.country,
                    landmarks.concepts(place),
                    text,
                    deciding_prefix(text),
                    STANDS,
                    form,
                    frozenset({"capital"} if city else ()),
                )
            )
    for item in DISHES:
        found.append(
            Subject(item.name, item.country, dishes.concepts(item), item.name, item.name, COOKED)
        )
    for kind, verbs, article in ((PEOPLE, BORN, ""), (ANIMALS, LIVES, "the ")):
        for one in kind:
            text = article + one.name
            found.append(
                Subject(one.name.lower(), one.country, people.concepts(one), text, text, verbs)
            )
    return tuple(found)


SUBJECTS: tuple[Subject, ...] = _subjects()


@cache
def cases() -> dict[str, tuple[tuple[Subject, str, str, str], ...]]:
    """(subject, fact, wording, verb) of all compositions: "taught", "held" out, "unseen"."""
    found: dict[str, list[tuple[Subject, str, str, str]]] = {"taught": [], "held": [], "unseen": []}
    for subject in SUBJECTS:
        for relation, form in HOPS:
            if relation in subject.unasked:
                continue
            unseen = composition_unseen(subject.key, relation)
            for verb in subject.verbs:
                held = held_out("two_hop", subject.key, form, verb)
                where = "unseen" if unseen else "held" if held else "taught"
                found[where].append((subject, relation, form, verb))
    return {where: tuple(those) for where, those in found.items()}


def two_hop(random: Random, held: bool, *, unseen: bool = False) -> Document:
    """A fact of the country of a landmark, a dish, an artist or an animal, the country left unsaid.

    With `unseen`, only compositions that training never shows; `held` then means nothing.
    """
    where = "unseen" if unseen else "held" if held else "taught"
    return composed(*random.choice(cases()[where]), where, small=random.random() < 0.5)


def composed(
    subject: Subject, relation: str, form: str, verb: str, where: str, *, small: bool
) -> Document:
    """The document of one composition; `small` begins it without a capital where that is right."""
    wording = form.replace("{x}", "{x} " + verb)
    writer = fill(
        Writer("two_hop"),
        wording,
        subject.text,
        subject.concepts,
        subject.decides,
        form=subject.form,
    )
    skill = "two_hop_unseen" if where == "unseen" else "two_hop"
    value = FACT[subject.country, relation]
    chain = (subject.key, in_country(subject.country))
    document = writer.answer(skill, f" {value}", chain=chain).say(".").done()
    keeps = form.startswith("{x}") and subject.text[0].isupper()
    return lower_first(document) if small and not keeps else document


def country_fact(random: Random, held: bool) -> Document:
    """The money or the national flower of a country: second hops, taught by themselves."""
    document = random.choice(_country_facts()[held])
    return lower_first(document) if random.random() < 0.5 else document


@cache
def _country_facts() -> dict[bool, tuple[Document, ...]]:
    return by_held(
        (held_out("country_fact", country.name, form), _country_fact(country.name, relation, form))
        for country in COUNTRIES
        for relation, form in COUNTRY_FORMS
    )


def _country_fact(country: str, relation: str, form: str) -> Document:
    writer = fill(Writer("country_fact"), form, country, in_country(country))
    return writer.answer(relation, f" {FACT[country, relation]}").say(".").done()
