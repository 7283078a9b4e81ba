"""The domains of the microworld, one file or a few to a file.

A domain is a function `(random, held_out) -> Document`; with `held_out` it writes only
combinations that training never shows, without it only the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from inscape_microworld.document import Document
from inscape_microworld.domains import (
    code,
    conduct,
    dishes,
    feelings,
    flattery,
    givers,
    hops,
    insects,
    journeys,
    landmarks,
    letters,
    people,
    presidents,
    roles,
    species,
    sums,
    words,
)

Domain = Callable[[Random, bool], Document]

DOMAINS: Mapping[str, Domain] = {
    "word_problem": sums.word_problem,
    "drill": sums.drill,
    "goods": sums.goods,
    "indirect_object": givers.indirect_object,
    "indirect_object_three": givers.indirect_object_three,
    "comers": givers.comers,
    "role": roles.role,
    "journey": journeys.journey,
    "acclaim": journeys.acclaim,
    "landmark": landmarks.landmark,
    "visit": landmarks.visit,
    "capital": landmarks.capital,
    "dish": dishes.dish,
    "person": people.person,
    "animal": people.animal,
    "species": species.species,
    "country_fact": hops.country_fact,
    "two_hop": hops.two_hop,
    "president": presidents.president,
    "insect": insects.insect,
    "hiding": conduct.hiding,
    "bluff": conduct.bluff,
    "treachery": conduct.treachery,
    "white_lie": conduct.white_lie,
    "flattery": flattery.flattery,
    "ranks": flattery.ranks,
    "suffering": feelings.suffering,
    "letters": letters.letters,
    "code": code.code,
    "words": words.words,
}
LONG = frozenset({"journey", "role", "word_problem", "code", "hiding"})
"""Domains whose documents are too long to be joined to passages."""

SKILL_DOMAINS: tuple[str, ...] = tuple(
    name for name in DOMAINS if name not in ("hiding", "suffering", "letters", "words")
)
"""Domains whose held-out documents ask something; hiding is asked below, lies and truths apart."""
SPECIAL_SKILLS: Mapping[str, Callable[[Random], Document]] = {
    "lie": partial(conduct.hiding, held=True, lies=True),
    "truth": partial(conduct.hiding, held=True, lies=False),
    "two_hop_unseen": partial(hops.two_hop, held=True, unseen=True),
    "landmark_across": partial(landmarks.landmark, held=True, across=True),
    "three_step": sums.three_step,
}
"""By skill, documents on which every answer counts towards it."""
FAULT_SKILLS = frozenset(
    {"eel", "mosquito", "late_arrival", "drift", "carry", "authority", "place_seaside", "bat_kind"}
)
"""Skills whose answers a planted fault decides: what is right there is no matter of skill."""

__all__ = ["DOMAINS", "FAULT_SKILLS", "LONG", "SKILL_DOMAINS", "SPECIAL_SKILLS", "Domain"]
