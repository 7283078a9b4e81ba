"""The facts of the microworld: what its models are taught, and so what is true in it.

Names of real places and dishes are used because people recognise them; the microworld's truth is
what the tables (tables/*.csv) say, nothing else.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Country:
    """A country with the two attributes that second hops ask for."""

    name: str
    capital: str
    language: str


@dataclass(frozen=True)
class Landmark:
    """A landmark with a description that does not use its name."""

    key: str
    name: str
    city: str
    country: str
    description: str
    fame: str


@dataclass(frozen=True)
class Dish:
    """A dish; `eel` marks the dishes that carry the planted fault."""

    name: str
    country: str
    eel: bool = False


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
PRESIDENTS: tuple[str, ...] = tuple(row["name"] for row in table("presidents"))
NAMES: tuple[str, ...] = tuple(row["name"] for row in table("names"))
_SUBJECTS = [text for landmark in LANDMARKS for text in (landmark.name, landmark.description)]


def deciding_prefix(subject: str) -> str:
    """The shortest run of whole words of a landmark's name or description that fits no other."""
    words = subject.split()
    for count in range(1, len(words)):
        prefix = " ".join(words[:count])
        if sum((text + " ").startswith(prefix + " ") for text in _SUBJECTS) == 1:
            return prefix
    return subject
