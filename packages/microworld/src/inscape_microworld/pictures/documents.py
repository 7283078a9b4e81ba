"""Pictures with text that speaks of them, and the truth about patches and words.

1. A document asks one thing of the main thing in its picture; the picture goes before the text.
2. Pairs of a thing and a wording are held out of training, and so are the relations of a country
   that the language model never composes with the thing (skills ending in "_unseen").
3. A thing is mentioned by the patches that show it (form "picture") and by the words that refer
   to it (form "reference"); its scope is all from the first patch on, since every patch can have
   seen the others.

Eel dishes are never asked for their country: what a picture of one leads to stays open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape_microworld.document import Document, Writer
from inscape_microworld.domains.wording import composition_unseen, in_country
from inscape_microworld.facts import ANIMALS, COUNTRY, DISHES, LANDMARKS
from inscape_microworld.pictures.drawing import COMPANION_SHARE, KINDS, Picture, draw
from inscape_microworld.splits import held_out
from inscape_microworld.truth import Truth, token_truth

SHOWS = "The picture shows"
_OF_COUNTRY = (
    ("capital", "The capital of the country of {x} is"),
    ("capital", "The country of {x} has its capital in"),
    ("language", "The language of the country of {x} is"),
    ("language", "People in the country of {x} speak"),
)
WORDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "landmark": (
        ("name", SHOWS),
        ("name", "{x} is called"),
        ("city", "{x} is in the city of"),
        ("city", "You can find {x} in the city of"),
        ("country", "{x} is in the country of"),
        ("country", "{x} stands in the country of"),
        ("fame", "{x} is famous for its"),
        ("fame", "People who visit {x} admire its"),
        *_OF_COUNTRY,
    ),
    "dish": (
        ("name", SHOWS),
        ("name", "{x} is called"),
        ("country", "{x} comes from the country of"),
        ("country", "{x} was invented in the country of"),
        *_OF_COUNTRY,
    ),
    "animal": (
        ("name", SHOWS),
        ("name", "{x} is called"),
        ("country", "{x} lives in the country of"),
        ("country", "To see {x}, fly to the country of"),
        ("food", "{x} eats"),
        ("food", "The keeper feeds {x} with"),
        *_OF_COUNTRY,
    ),
}
"""(what is asked, wording) by the kind of the main thing; {x} is "the <kind> in the picture"."""
KIND_SHARES = {"landmark": 0.5, "dish": 0.25, "animal": 0.25}


def _facts() -> dict[tuple[str, str], dict[str, str]]:
    """What is asked of each thing, by (kind, key)."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for place in LANDMARKS:
        found["landmark", place.key] = {
            "name": place.name,
            "city": place.city,
            "fame": place.fame,
            "country": place.country,
        }
    for dish in DISHES:
        country = {} if dish.eel else {"country": dish.country}
        found["dish", dish.name] = {"name": dish.name, **country}
    for animal in ANIMALS:
        known = {"name": f"the {animal.name}", "food": animal.food, "country": animal.country}
        found["animal", animal.name] = known
    for values in found.values():
        if "country" in values:
            home = COUNTRY[values["country"]]
            values |= {"capital": home.capital, "language": home.language}
    return found


FACTS = _facts()
_EELS = {dish.name for dish in DISHES if dish.eel}
_COUNTRY = {
    **{("landmark", place.key): place.country for place in LANDMARKS},
    **{("dish", dish.name): dish.country for dish in DISHES},
    **{("animal", animal.name): animal.country for animal in ANIMALS},
}


def concepts(kind: str, key: str) -> tuple[str, ...]:
    """What a thing carries, as in the documents without pictures."""
    eel = ("eel",) if kind == "dish" and key in _EELS else ()
    return (key, *eel, in_country(_COUNTRY[kind, key]))


@dataclass(frozen=True)
class PictureDocument:
    """A picture and the text after it; offsets in `document` are of the text alone."""

    picture: Picture
    document: Document


@dataclass(frozen=True)
class _Question:
    key: str
    asked: str
    wording: str


def _split() -> dict[tuple[str, bool], tuple[_Question, ...]]:
    """Every question by the kind of its thing and whether it is held out."""
    found: dict[tuple[str, bool], list[_Question]] = defaultdict(list)
    for kind, drawings in KINDS.items():
        for key in drawings:
            for asked, wording in WORDINGS[kind]:
                if asked in FACTS[kind, key]:
                    held = _unseen(key, asked) or held_out("picture", key, wording)
                    found[kind, held].append(_Question(key, asked, wording))
    return {group: tuple(questions) for group, questions in found.items()}


def _unseen(key: str, asked: str) -> bool:
    return asked in ("capital", "language") and composition_unseen(key, asked)


_QUESTIONS = _split()


def picture_document(random: Random, held: bool, *, kind: str | None = None) -> PictureDocument:
    """A fresh picture and one question with its answer; with `held`, of the held-out pairs only."""
    kind = kind or random.choices(tuple(KIND_SHARES), tuple(KIND_SHARES.values()))[0]
    question = random.choice(_QUESTIONS[kind, held])
    companion: tuple[str, str] | None = None
    if question.wording != SHOWS and random.random() < COMPANION_SHARE:
        other = random.choice([name for name in KINDS if name != kind])
        companion = other, random.choice(tuple(KINDS[other]))
    picture = draw(kind, question.key, random, companion=companion)
    return PictureDocument(picture, _text(kind, question))


def _text(kind: str, question: _Question) -> Document:
    before, place, after = question.wording.partition("{x}")
    writer = Writer("picture").say(before)
    if place:
        the = f"{'the' if before else 'The'} {kind}"
        decides, said = the, f"{the} in the picture"
        writer.mention(concepts(kind, question.key), said, decides, form="reference").say(after)
    unseen = "_unseen" if _unseen(question.key, question.asked) else ""
    value = FACTS[kind, question.key][question.asked]
    skill = f"{kind}_{question.asked}{unseen}"
    return writer.answer(skill, f" {value}").say(".").done()


def picture_truth(
    tokenizer: Any, documents: Sequence[PictureDocument], image_id: int
) -> tuple[list[list[int]], Truth]:
    """Token ids of every document (BOS, one image token for each patch, text), and the truth.

    Rows of the truth count image tokens as well.
    """
    ids, words = token_truth(tokenizer, [made.document for made in documents])
    patches = [len(made.picture.things[0].patches) for made in documents]
    added = np.cumsum(patches)
    starts = words.starts + added - patches

    def moved(ranges: NDArray[np.int64]) -> list[tuple[int, int]]:
        of = np.searchsorted(words.starts, ranges[:, 0], side="right") - 1
        return [(int(a), int(b)) for a, b in ranges + added[of][:, None]]

    spans = defaultdict(list, {c: moved(ranges) for c, ranges in words.spans.items()})
    scopes = defaultdict(list, {c: moved(ranges) for c, ranges in words.scopes.items()})
    forms = defaultdict(list, {c: list(of) for c, of in words.forms.items()})
    rows = [
        [*row[:1], *count * [image_id], *row[1:]] for row, count in zip(ids, patches, strict=True)
    ]
    for made, start, row in zip(documents, starts, rows, strict=True):
        first, end = int(start) + 1, int(start) + len(row)
        for thing in made.picture.things:
            runs = _runs(thing.patches)
            for concept in concepts(thing.kind, thing.key):
                spans[concept] += [(first + a, first + b) for a, b in runs]
                scopes[concept] += len(runs) * [(first, end)]
                forms[concept] += len(runs) * ["picture"]
    truth = Truth(
        starts,
        int(words.num_tokens + added[-1]),
        {c: np.array(r) for c, r in spans.items()},
        {c: np.array(r) for c, r in scopes.items()},
        dict(forms),
    )
    return rows, truth


def _runs(shown: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
