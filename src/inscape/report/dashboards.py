"""Pages of all features of an atlas, to be put on any web server or opened from a folder.

OUT/index.html              the dictionaries
OUT/NAME/index.html         the active features of one, with their labels, to search and sort
OUT/NAME/NUMBER.html        a hundred features each: figures, examples by interval, what they raise

Each page is whole in itself: no page asks for anything from outside, and texts are only ever text.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from inscape.atlas import Atlas
from inscape.core import tokens_as_label, track
from inscape.features import FeatureIndex
from inscape.labels import Label, Labels
from inscape.report.features import feature_body
from inscape.report.markup import Markup, tag
from inscape.report.numbers import finite
from inscape.report.page import document
from inscape.report.parts import feature_name, number, table
from inscape.storage import atomic_folder

PER_PAGE = 100
ORDERS = {
    "number": "number",
    "accurate": "best label first",
    "common": "most common first",
    "rare": "rarest first",
}


def write_pages(atlas: Atlas, out: str | Path, names: Iterable[str] | None = None) -> Path:
    """Writes the pages of the indexed dictionaries, or of those named, into a new folder.

    Raises:
        InputError: a dictionary is not indexed, or the folder holds something.
        StorageError: the disk is full or may not be written to.
    """
    chosen = atlas.indexed(names)
    with atomic_folder(Path(out)) as folder:
        for name in chosen:
            (folder / name).mkdir()
            _dictionary(folder / name, atlas, name)
        model = atlas.record["model"]["name"]
        heads = ["dictionary", "features", "active", "with a name", "AUROC of names, in the median"]
        listed = table(
            heads,
            [_row(atlas, name) for name in chosen],
            what="dictionaries",
            numeric=range(1, len(heads)),
        )
        _write(folder / "index.html", f"Features of {model}", listed)
    return Path(out)


def _row(atlas: Atlas, name: str) -> tuple[object, ...]:
    index, labels = atlas.features(name), atlas.labels(name)
    summary = {} if labels is None else labels.summary
    return (
        tag("a", tag("code", name, class_="name"), href=f"{name}/index.html"),
        number(index.num_features),
        number(int(np.count_nonzero(index.num_active))),
        number(summary.get("num_labelled")),
        number(finite(summary.get("median_auroc"))),
    )


def _dictionary(folder: Path, atlas: Atlas, name: str) -> None:
    index, labels = atlas.features(name), atlas.labels(name)
    active = np.flatnonzero(index.num_active).tolist()
    pages = range(0, len(active), PER_PAGE)
    place = {feature: i // PER_PAGE for i, feature in enumerate(active)}
    for start in track(pages, f"pages of {name}", unit="pages"):
        part = active[start : start + PER_PAGE]
        number_ = start // PER_PAGE
        items = [_feature(name, atlas, feature, place) for feature in part]
        title = f"{name}: features {part[0]} to {part[-1]}"
        _write(folder / _file(number_), title, _links(number_, len(pages)), items)
    listed = [_entry(name, index, labels, feature, place[feature]) for feature in active]
    dead = index.num_features - len(active)
    said = tag("p", number(len(active)), " active features; ", number(dead), " are never active.")
    _write(
        folder / "index.html",
        f"{name} of {atlas.record['model']['name']}",
        tag("p", tag("a", "All dictionaries", href="../index.html")),
        said,
        _controls(name),
        tag("ul", listed, id="feature-list", class_="list"),
        script="page.js",
    )


def _file(page: int) -> str:
    return f"{page:04d}.html"


def _href(feature: int, place: dict[int, int]) -> str:
    return f"{_file(place[feature])}#f{feature}"


def _write(path: Path, title: str, *content: object, script: str | None = None) -> None:
    body = tag("main", tag("h1", title), content, class_="page")
    text = document(title, body, script=script)
    path.write_text(text, encoding="utf-8")


def _links(page: int, count: int) -> Markup:
    before = tag("a", "Before", href=_file(page - 1)) if page else None
    after = tag("a", "After", href=_file(page + 1)) if page + 1 < count else None
    links = [tag("a", "All features", href="index.html"), before, after]
    return tag("nav", tag("ul", [tag("li", link) for link in links if link]), aria_label="Pages")


def _shown(index: FeatureIndex, label: Label | None, feature: int) -> str | None:
    named = None if label is None else label.name
    return named or tokens_as_label(index.peak_tokens(feature))


def _entry(
    name: str, index: FeatureIndex, labels: Labels | None, feature: int, page: int
) -> Markup:
    """A line of the list of features, with what the page's script sorts by."""
    label = labels.get(feature) if labels else None
    auroc = finite(label.auroc) if label is not None and label.name else None
    return tag(
        "li",
        tag("a", str(feature), href=f"{_file(page)}#f{feature}"),
        " ",
        _shown(index, label, feature),
        class_="feature",
        data_dictionary=name,
        data_density=repr(float(index.density[feature])),
        data_auroc=-1 if auroc is None else repr(auroc),
    )


def _controls(name: str) -> Markup:
    """What the page's script looks for: a word, a dictionary (here one), an order."""
    orders = [tag("option", text, value=key) for key, text in ORDERS.items()]
    return tag(
        "div",
        tag("label", "Search ", tag("input", type="search", placeholder="a label, a word")),
        tag("label", "Dictionary ", tag("select", tag("option", name, value=""))),
        tag("label", "Sort by ", tag("select", orders)),
        tag("output"),
        class_="controls",
        id="feature-controls",
        hidden=True,
    )


def _feature(name: str, atlas: Atlas, feature: int, place: dict[int, int]) -> Markup:
    index, labels = atlas.features(name), atlas.labels(name)
    label = labels.get(feature) if labels else None

    def link(other: int) -> str | None:
        return _href(other, place) if other in place else None

    return tag(
        "article",
        tag("h2", feature_name(f"{name}/{feature}", _shown(index, label, feature))),
        feature_body(index, feature, label, atlas.feature_label, link),
        class_="card",
        id=f"f{feature}",
    )
