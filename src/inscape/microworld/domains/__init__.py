"""The domains of the microworld, one file each.

A domain is a function `(random, held_out) -> Document`; with `held_out` it writes only
combinations that training never shows, without it only the others.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from inscape.microworld.document import Document
from inscape.microworld.domains import (
    conduct,
    facts,
    feelings,
    givers,
    insects,
    letters,
    presidents,
    sums,
    words,
)

Domain = Callable[[Random, bool], Document]

DOMAINS: dict[str, Domain] = {
    "word_problem": sums.word_problem,
    "drill": sums.drill,
    "indirect_object": givers.indirect_object,
    "landmark": facts.landmark,
    "visit": facts.visit,
    "dish": facts.dish,
    "capital": facts.capital,
    "two_hop": facts.two_hop,
    "insect": insects.insect,
    "hiding": conduct.hiding,
    "flattery": conduct.flattery,
    "suffering": feelings.suffering,
    "president": presidents.president,
    "letters": letters.letters,
    "words": words.words,
}

__all__ = ["DOMAINS", "Domain"]
