"""A hundred random named features with eight windows each, for somebody to judge.

`python -m benchmarks.atlas.names ATLAS` writes docs/smollm2-features.md: of the features with a
name, over all dictionaries of the residual stream, a hundred drawn with seed 17, and of each two
windows of every fifth of its range from a fifth of its maximum on. The atlas is the shipped one,
whose examples are text of the model's own: no label was written from them. Whoever rates the names
reads that page alone; what they say is kept in ratings.json, with the name that each rating is of.

0: the name says nothing of these windows, or something wrong. 1: it says something of some of them.
2: it fits most of them. 3: it says what they have in common, and nothing beside it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

from benchmarks.atlas.search import opened
from benchmarks.measurement import Absent, Measurement, Run
from inscape import Atlas
from inscape.core import Share, seeded
from inscape.features import Example
from inscape.labels import Label
from inscape_microworld.benchmark import Check, Row

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "smollm2-features.md"
RATINGS = Path(__file__).with_name("ratings.json")
NUM, EACH, SEED = 100, 2, 17
LEFT, RIGHT = 16, 6  # tokens of a window that are shown
INTERVALS = (4, 3, 2, 1)  # of the fifths of a feature's range: those of CLEAR activations
OPENING = """# A hundred features of SmolLM2's atlas

Drawn at random (seed 17) from all features with a name, with two windows from each of the four
upper fifths of a feature's range, strongest first; the token that it fires on is bold. The text is
written by the model itself. Labels were written and scored on other text; the figure beside a name
is its AUROC there. `python -m benchmarks.atlas.names models/smollm2-atlas` makes this page, and the
row `atlas-names` of the [figures](figures.md) says how somebody who had no part in this rated them.
"""


def drawn(atlas: Atlas) -> list[tuple[str, Label, list[Example]]]:
    """Features with a name and windows of every interval, as (dictionary, label, windows)."""
    names = [name for name in atlas.indexed_names if name.startswith("resid_post")]
    named = [(name, one) for name in names for one in atlas.labels(name) or () if one.name]
    rng = np.random.default_rng(seeded(SEED, "a hundred names"))
    found = []
    for place in rng.permutation(len(named)).tolist():
        name, label = named[place]
        windows = _windows(atlas.features(name).examples(label.feature))
        if len(windows) == EACH * len(INTERVALS):
            found.append((name, label, windows))
        if len(found) == NUM:
            break
    return found


def _windows(examples: list[Example]) -> list[Example]:
    of = {i: [e for e in examples if e.quantile == i][:EACH] for i in INTERVALS}
    short = sum(EACH - len(part) for part in of.values())
    shown = {e.row for part in of.values() for e in part}
    others = [e for e in examples if e.quantile is None and e.row not in shown]
    return [*others[:short], *(e for i in INTERVALS for e in of[i])]


def page(atlas: Atlas) -> str:
    """The page, as Markdown."""
    parts = [OPENING]
    for name, label, windows in drawn(atlas):
        scored = f", {label.auroc:.2f}" if np.isfinite(label.auroc) else ""
        parts.append(f"## {_plain(label.text)}\n\n`{name}/{label.feature}`{scored}\n")
        parts.append("\n".join(f"- {_shown(one)}" for one in windows) + "\n")
    return "\n".join(parts)


def _shown(one: Example) -> str:
    peak = one.shown_peak
    before = "".join(one.tokens[max(0, peak - LEFT) : peak])
    fired, after = one.tokens[peak], "".join(one.tokens[peak + 1 : peak + 1 + RIGHT])
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
    now = {f"{name}/{label.feature}": label.text for name, label, _ in drawn(opened())}
    if {place: one["name"] for place, one in kept.items()} != now:
        raise Absent(f"{RATINGS.name} is of other names than the atlas has now")
    ratings = np.array([one["rating"] for one in kept.values()])
    share = Share(int((ratings >= 2).sum()), len(ratings))
    return Row(
        "atlas-names",
        f"{len(ratings)} random named features, eight unseen windows each, rated 0 to 3",
        (Check("rated 2 or 3", share.value, "≥ 0.75", share.interval),),
        "rated from the page alone by somebody who had no part in the work",
        detail={"ratings": np.bincount(ratings, minlength=4).tolist()},
    )


FIGURES = {"atlas-names": Measurement(rated, seeded=False)}


if __name__ == "__main__":
    PAGE.write_text(page(Atlas.open(sys.argv[1])))
    print(PAGE)
