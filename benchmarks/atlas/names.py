"""A hundred random named features with eight windows each, for somebody to judge.

    python -m benchmarks.atlas.names ATLAS [OUT]

1. Of the features with a name, over all dictionaries of the residual stream, a hundred are drawn
   with seed 22.
2. Of an atlas with its activations the windows are those that the names were scored on: of
   documents that no name was written from, each with at least a fifth of the feature's maximum.
   Such a page holds text of the corpus: it is for the rater, and stays out of the repository.
3. Of the shipped atlas they are from its examples, which the model wrote itself:
   docs/smollm2-features.md.
4. Whoever rates the names reads the page of step 2 alone; what they say is kept in ratings.json,
   with the name that each rating is of.

0: the name says nothing of these windows, or something wrong. 1: it says something of some of them.
2: it fits most of them. 3: it says what they have in common, and nothing beside it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from benchmarks.atlas.search import opened
from benchmarks.measurement import Absent, Measurement, Run
from inscape import Atlas
from inscape.atlas.steps import seed_of
from inscape.core import Share, seeded
from inscape.features import TokenTable
from inscape.labels import Label
from inscape.labels.sampling import CLEAR, NUM_WINDOWS, Half, document_halves
from inscape_microworld.benchmark import Check, Row

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "smollm2-features.md"
RATINGS = Path(__file__).with_name("ratings.json")
NUM, EIGHT, SEED = 100, 8, 21
LEFT, RIGHT = 16, 6  # tokens of a window that are shown
T = TypeVar("T")
OPENING = """# A hundred features of SmolLM2's atlas

Drawn at random (seed 22) from all features with a name, with up to eight windows in which the
feature is clearly active (at least a fifth of its maximum), strongest first; the token that it
fires on is bold. The model wrote the text itself; a feature that it hardly sets off has fewer
windows. Labels were written and scored on other text; the figure beside a name is its AUROC there.
`python -m benchmarks.atlas.names models/smollm2-atlas` makes this page. The row `atlas-names` of
the [figures](figures.md) says how somebody who had no part in this rated the names, by windows of
the corpus that no name was written from.
"""


class Window(NamedTuple):
    """Tokens, and the place of the one that the feature fires on."""

    tokens: tuple[str, ...]
    peak: int


def drawn(atlas: Atlas) -> list[tuple[str, Label]]:
    """A hundred features with a name, each as (dictionary, label)."""
    names = [name for name in atlas.indexed_names if name.startswith("resid_post")]
    named = [(name, one) for name in names for one in atlas.labels(name) or () if one.name]
    rng = np.random.default_rng(seeded(SEED, "a hundred names"))
    return [named[place] for place in rng.permutation(len(named))[:NUM].tolist()]


def written(atlas: Atlas, name: str, feature: int) -> list[Window]:
    """Windows of the examples that come with an atlas, strongest first."""
    index = atlas.features(name)
    least = CLEAR * float(index.max[feature])
    clear = {e.row: e for e in index.examples(feature) if e.value >= least}
    chosen = _spread(sorted(clear.values(), key=lambda e: -e.value))
    return [Window(e.tokens, e.shown_peak) for e in chosen]


def unseen(atlas: Atlas, name: str, feature: int) -> list[Window]:
    """Windows of the documents that no name was written from, strongest first."""
    index, seed = atlas.features(name), seed_of(atlas, None)
    table = index.tokens
    explaining = document_halves(table.distinct, seeded(seed, "labels"))
    half = Half(table, ~explaining & np.asarray(table.considered))
    sample = half.scored(index, feature, NUM_WINDOWS, seed)
    value = dict(zip(*(part.tolist() for part in index.rows_of(feature)), strict=True))
    rows = sorted(sample.rows[sample.positive].tolist(), key=lambda row: -value[row])
    return [_at(table, row) for row in _spread(rows)]


def _at(table: TokenTable, row: int) -> Window:
    first = max(0, row - LEFT)
    rows = range(first, min(row + RIGHT + 1, len(table)))
    inside = [r for r in rows if table.documents[r] == table.documents[row]]
    return Window(tuple(table.text(table.ids[r]) for r in inside), inside.index(row))


def _spread(found: list[T]) -> list[T]:
    """EIGHT of what is in order, over its whole range."""
    places = np.linspace(0, len(found) - 1, min(EIGHT, len(found))).round().astype(int)
    return [found[place] for place in places]


def page(atlas: Atlas) -> str:
    """The page, as Markdown."""
    parts = [OPENING]
    for name, label in drawn(atlas):
        index = atlas.features(name)
        windows = (unseen if index.has_activations else written)(atlas, name, label.feature)
        scored = f", {label.auroc:.2f}" if np.isfinite(label.auroc) else ""
        parts.append(f"## {_plain(label.text)}\n\n`{name}/{label.feature}`{scored}\n")
        parts.append("\n".join(f"- {_shown(one)}" for one in windows) + "\n")
    return "\n".join(parts)


def _shown(one: Window) -> str:
    before = "".join(one.tokens[max(0, one.peak - LEFT) : one.peak])
    fired, after = one.tokens[one.peak], "".join(one.tokens[one.peak + 1 : one.peak + 1 + RIGHT])
    space = fired[: len(fired) - len(fired.lstrip())]
    word = fired.strip() or fired.replace("\n", "↵").replace(" ", "␣")
    text = f"{_plain(before + space)}**{_plain(word)}**{_plain(after)}"
    return text.strip()


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", re.sub(r"\s*\n\s*", " ↵ ", text))


def rated(run: Run) -> Row:
    """The share of the names of the page that fit, by the ratings that are kept."""
    if not RATINGS.is_file():
        raise Absent(f"nobody has rated the names yet: there is no {RATINGS.name}")
    kept = json.loads(RATINGS.read_text())["ratings"]
    now = {f"{name}/{label.feature}": label.text for name, label in drawn(opened())}
    if {place: one["name"] for place, one in kept.items()} != now:
        raise Absent(f"{RATINGS.name} is of other names than the atlas has now")
    ratings = np.array([one["rating"] for one in kept.values()])
    share = Share(int((ratings >= 2).sum()), len(ratings))
    return Row(
        "atlas-names",
        f"{len(ratings)} random named features, eight unseen windows each, rated 0 to 3",
        (Check("rated 2 or 3", share.value, "≥ 0.75", share.interval),),
        "windows of documents that no name was written from; the rater had no part in the work",
        detail={"ratings": np.bincount(ratings, minlength=4).tolist()},
    )


FIGURES = {"atlas-names": Measurement(rated, seeded=False)}


if __name__ == "__main__":
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else PAGE
    out.write_text(page(Atlas.open(sys.argv[1])))
    print(out)
