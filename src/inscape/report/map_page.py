"""The page of maps: every feature as a point, groups with names, a search, what each feature is.

1. The points travel in the page as text of a hidden element, which the page's script reads: nothing
   is loaded, and what is in labels is never read as HTML.
2. Without scripts the groups are there as a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from inscape.atlas import Atlas
from inscape.core import InputError
from inscape.labels import FeatureMap
from inscape.report.markup import Markup, join, tag
from inscape.report.page import MADE, document
from inscape.report.parts import fold, number
from inscape.storage import atomic_write, refuse_file

FILE = "map.html"
STEPS = 4095  # places along the longer side of the map
WORDS = 3
COLOURS = {
    "group": "group",
    "abstract": "concrete to abstract",
    "density": "how often it fires",
    "auroc": "how well its label fits",
}


def write_map_page(atlas: Atlas, out: str | Path | None = None) -> Path:
    """Writes the page of all maps of an atlas, by default map.html in it; returns its path.

    Raises:
        InputError: the atlas has no map, or `out` is a file that is no page of inscape.
        StorageError: the disk is full or may not be written to.
    """
    path = Path(out) if out is not None else atlas.path / FILE
    refuse_file(path, MADE)
    atomic_write(path, map_html(atlas).encode())
    return path


def map_html(atlas: Atlas) -> str:
    """The whole page."""
    maps = atlas.maps()
    if not maps:
        raise InputError(f"{atlas.path} has no map yet", next_step=f"run: inscape map {atlas.path}")
    data = {one.dictionary: _points(atlas, one) for one in maps}
    points = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    model = atlas.record["model"]["name"]
    names = [tag("option", name, value=name) for name in data]
    controls = tag(
        "div",
        tag(
            "label", "Search ", tag("input", type="search", placeholder="a label, a word, a number")
        ),
        tag("label", "Dictionary ", tag("select", names)),
        tag("label", "Colour ", tag("select", _options(COLOURS.items()))),
        tag("button", "Whole map", type="button"),
        tag("output"),
        class_="controls",
        id="map-controls",
    )
    body = tag(
        "main",
        tag("h1", f"Map of {model}"),
        tag(
            "p",
            "Each point is a feature. Features that write alike and are about the like lie "
            "together. Drag and zoom; point at or tap a feature to see what it is.",
            class_="lead",
        ),
        controls,
        tag(
            "div",
            tag("canvas", aria_label="the map", role="img", tabindex="0"),
            tag("div", class_="map-card", aria_live="polite", hidden=True),
            class_="map",
            id="map",
        ),
        tag("h2", "Groups"),
        tag(
            "p",
            "Named after the label that is nearest to half of a group's members; AUROC: how well "
            "the name tells the other half from features outside (0.5 is chance).",
            class_="guide",
        ),
        [_groups(one) for one in maps],
        tag("div", points, id="map-data", hidden=True),
        class_="page",
    )
    return document(f"inscape: map of {model}", body, script="map.js")


def _options(pairs: Iterable[tuple[str, str]]) -> list[Markup]:
    return [tag("option", text, value=value) for value, text in pairs]


def _points(atlas: Atlas, one: FeatureMap) -> dict[str, Any]:
    """What the script draws; in columns, to be short."""
    table, labels = one.table.to_pydict(), atlas.labels(one.dictionary)
    index = atlas.features(one.dictionary)
    found = [None if labels is None else labels.get(f) for f in table["feature"]]
    words = [
        label.words[:WORDS] if label is not None and label.words else index.peak_tokens(f, WORDS)
        for f, label in zip(table["feature"], found, strict=True)
    ]
    places = np.round(np.array([table["x"], table["y"]]) * STEPS).astype(int).tolist()
    return {
        "feature": table["feature"],
        "x": places[0],
        "y": places[1],
        "group": table["group"],
        "cluster": table["cluster"],
        "density": [float(f"{value:.3g}") for value in table["density"]],
        "abstract": [_rounded(value) for value in table["abstract"]],
        "by_token": [_rounded(value) for value in table["by_token"]],
        "words_num": [_rounded(value, 1) for value in table["words"]],
        "auroc": [None if label is None else _rounded(label.auroc) for label in found],
        "label": ["" if label is None else label.name or "" for label in found],
        "words": [" ".join(word.strip() for word in each) for each in words],
        "groups": [g.name for g in one.groups if g.level == 1],
        "clusters": [g.name for g in one.groups if g.level == 2],
    }


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return round(value, digits) if value is not None and isfinite(value) else None


def _groups(one: FeatureMap) -> Markup:
    items = []
    for group in sorted((g for g in one.groups if g.level == 1), key=lambda g: -g.size):
        inside = [g for g in one.groups if g.level == 2 and g.parent == group.number]
        inside.sort(key=lambda g: -g.size)
        title = join(
            tag("strong", group.name),
            " ",
            tag("span", number(group.size), " features", _auroc(group.auroc), class_="note"),
        )
        listed = [
            tag("li", g.name, " ", tag("span", number(g.size), _auroc(g.auroc), class_="note"))
            for g in inside
        ]
        items.append(tag("li", fold(title, tag("ul", listed))))
    return join(tag("h3", one.dictionary), tag("ul", items, class_="list"))


def _auroc(value: float | None) -> Markup | None:
    return (
        join(", AUROC ", number(round(value, 2))) if value is not None and isfinite(value) else None
    )
