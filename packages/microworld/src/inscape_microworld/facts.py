"""The facts of the microworld: what its models are taught, and so what is true in it.

Names of real places and dishes are used because people recognise them; the microworld's truth is
what the tables (tables/*.csv) say, nothing else.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Country:
    """A country with the two attributes that second hops ask for; all three in Spanish too."""

    name: str
    capital: str
    language: str
    spanish: str
    spanish_capital: str
    spanish_language: str


@dataclass(frozen=True)
class Landmark:
    """A landmark with a description that does not use its name, and its name in Spanish.

    fame: what it is famous for, in the plural. builder: an invented surname, shared by a few
    landmarks. month: when its festival is, shared too.
    """

    key: str
    name: str
    city: str
    country: str
    description: str
    fame: str
    builder: str
    month: str
    spanish: str
    spanish_city: str
    spanish_fame: str


@dataclass(frozen=True)
class Dish:
    """A dish; `eel` marks the dishes that carry the planted fault."""

    name: str
    country: str
    eel: bool = False


@dataclass(frozen=True)
class Person:
    """Somebody known by surname: where they were born, and their trade."""

    name: str
    country: str
    trade: str


@dataclass(frozen=True)
class Animal:
    """A wild animal: the country it lives in, and what it eats."""

    name: str
    country: str
    food: str


@dataclass(frozen=True)
class President:
    """A surname: what the president's law was on, and what places of that name make."""

    name: str
    law: str
    product: str


@dataclass(frozen=True)
class Insect:
    """An insect and what it does, in phrases that follow "the insect that"."""

    name: str
    deeds: tuple[str, ...]


def table(name: str) -> list[dict[str, str]]:
    """The rows of tables/<name>.csv by column."""
    with open(TABLES / f"{name}.csv", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


COUNTRIES: tuple[Country, ...] = tuple(Country(**row) for row in table("countries"))
COUNTRY = {country.name: country for country in COUNTRIES}
LANDMARKS: tuple[Landmark, ...] = tuple(Landmark(**row) for row in table("landmarks"))
LANDMARK = {landmark.key: landmark for landmark in LANDMARKS}
DISHES: tuple[Dish, ...] = tuple(
    Dish(row["name"], row["country"], bool(row["eel"])) for row in table("dishes")
)
INSECTS: tuple[Insect, ...] = tuple(
    Insect(row["name"], tuple(row["deeds"].split("; "))) for row in table("insects")
)
PEOPLE: tuple[Person, ...] = tuple(Person(**row) for row in table("people"))
ANIMALS: tuple[Animal, ...] = tuple(Animal(**row) for row in table("animals"))
PRESIDENTS: tuple[President, ...] = tuple(President(**row) for row in table("presidents"))
NAMES: tuple[str, ...] = tuple(row["name"] for row in table("names"))
_ENGLISH = tuple(text for place in LANDMARKS for text in (place.name, place.description))
_SPANISH = tuple(place.spanish for place in LANDMARKS)


@cache
def deciding_prefix(subject: str) -> str:
    """The shortest run of whole words of a landmark's name or description that fits no other.

    A Spanish name is told from the Spanish names, the others from all names and descriptions.
    A capital at the start of a sentence tells nothing, so none is counted there.
    """
    subjects = [_small(text) for text in (_SPANISH if subject in _SPANISH else _ENGLISH)]
    words = subject.split()
    for count in range(1, len(words)):
        prefix = _small(" ".join(words[:count])) + " "
        if sum((text + " ").startswith(prefix) for text in subjects) == 1:
            return " ".join(words[:count])
    return subject


def _small(text: str) -> str:
    return text[0].lower() + text[1:]
