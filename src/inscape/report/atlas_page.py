"""A page of any atlas: its model, dictionaries, features, and what was found with them.

1. Dictionaries: figures from the feature index, from the last `validate`, or from training.
2. Prompts, traces, diagnoses and steering as saved; one that cannot be read is named with the
   reason.
3. Features: those that saved results name, and a random sample of the others (those with a name
   where there are any), the same number of each dictionary.

Neither the model nor the weights of the dictionaries are opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from inscape.atlas import Atlas, Concept, Concepts, Quality, Results
from inscape.attribution import Graph
from inscape.core import InscapeError, LabelOf, seeded
from inscape.dictionary import DictionaryConfig
from inscape.features import FeatureIndex
from inscape.report.checks import checks_html
from inscape.report.concepts import More, concepts_html
from inscape.report.diagnosis import diagnosis_html
from inscape.report.features import feature_html, snippets, steered_features, steering_html
from inscape.report.graph_html import picture_html
from inscape.report.graph_picture import picture
from inscape.report.guide import EMPTY, GUIDES, LEAD, TERMS
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import finite
from inscape.report.page import MADE, document
from inscape.report.parts import fold, number, table
from inscape.storage import atomic_write, read_json, refuse_file

FILE = "report.html"
MOST_FEATURES, FEWEST_EACH = 100, 6
ORDERS = {
    "number": "dictionary and number",
    "accurate": "best label first",
    "common": "most common first",
    "rare": "rarest first",
}

R = TypeVar("R")


def write_atlas_report(atlas: Atlas, out: str | Path | None = None) -> Path:
    """Writes the page to `out`, by default report.html in the atlas; returns its path.

    Raises:
        InputError: `out` is a file that is no page of inscape.
        StorageError: `out` is a folder, or the disk is full or may not be written to.
    """
    path = Path(out) if out is not None else atlas.path / FILE
    refuse_file(path, MADE)
    atomic_write(path, atlas_html(atlas).encode())
    return path


def atlas_html(atlas: Atlas) -> str:
    """The whole page."""
    indexes = {name: atlas.features(name) for name in atlas.shown_names}
    label, steering = atlas.feature_label, _opened(atlas.steering)
    traces, diagnoses = _opened(atlas.traces), _opened(atlas.diagnoses)
    checks = _opened(atlas.checks)
    prompts, more = _opened(atlas.prompts), examples_of(atlas)
    named = {(n.dictionary, n.feature) for g in traces[0] for n in g.nodes if n.kind == "feature"}
    named |= {(c.dictionary, c.feature) for d in diagnoses[0] for c in d.removed + d.for_wrong}
    named |= {found for result in steering[0] for found in steered_features(result)}
    named |= {found for prompt in prompts[0] for found in removed_features(prompt)}
    named |= {
        (n, int(f)) for c in checks[0] for n, _, f in (id.rpartition("/") for id in c.features)
    }
    parts = [
        ("dictionaries", "Dictionaries", _dictionaries(atlas, indexes)),
        ("checks", "Checks of concepts", _shown(checks, checks_html)),
        ("prompts", "Prompts", _shown(prompts, lambda one: concepts_html(one, more))),
        ("traces", "Traces", _shown(traces, lambda graph: _trace(graph, label))),
        ("diagnoses", "Diagnoses", _shown(diagnoses, diagnosis_html)),
        ("steering", "Steering", _shown(steering, lambda found: steering_html(found, label))),
        ("features", "Features", features_html(atlas, named, MOST_FEATURES)),
    ]
    model = atlas.record["model"]["name"]
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in parts]
    body = tag(
        "main",
        _header(atlas, indexes.values()),
        tag("nav", tag("ul", links), aria_label="On this page"),
        [_section(*part) for part in parts],
        class_="page",
    )
    return document(f"inscape: {model}", body, script="page.js")


def _header(atlas: Atlas, indexes: Iterable[FeatureIndex]) -> Markup:
    model = atlas.record["model"]
    facts: list[tuple[str, object]] = [
        ("model", model["name"]),
        ("architecture", model.get("family", "unknown")),
        ("layers", number(model["num_layers"])),
        ("width of its activations", number(model["d_model"])),
        ("tokens of text indexed", number(max((i.num_considered for i in indexes), default=None))),
        ("made with", f"inscape {atlas.record.get('inscape', '')}"),
    ]
    terms = tag("dl", [(tag("dt", name), tag("dd", text)) for name, text in TERMS.items()])
    return tag(
        "header",
        tag("h1", f"Inside {model['name']}"),
        tag("p", LEAD, class_="lead"),
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="facts"),
        fold("The terms on this page", tag("div", terms, class_="terms")),
    )


def _section(anchor: str, title: str, content: Markup | None) -> Markup:
    shown = content or tag("p", "None yet. To make some: ", tag("code", EMPTY[anchor]))
    guide = tag("p", GUIDES[anchor], class_="guide")
    return tag("section", tag("h2", title), guide, shown, id=anchor, aria_label=title)


# Dictionaries


def _dictionaries(atlas: Atlas, indexes: dict[str, FeatureIndex]) -> Markup | None:
    measured = {quality.dictionary: quality for quality in _opened(atlas.qualities)[0]}
    rows = [
        _dictionary(atlas, name, indexes.get(name), measured.get(name))
        for name in dict.fromkeys([*atlas.dictionary_names, *indexes])
    ]
    heads = [
        "dictionary",
        "reads → writes",
        "features",
        "active per token, on average (L0)",
        "unexplained variance (FVU)",
        "loss recovered",
        "dead features",
        "labelled features",
        "AUROC of labels, in the median (0.5 is chance)",
    ]
    numeric = range(2, len(heads))
    return table(heads, rows, what="dictionaries", numeric=numeric) if rows else None


def _dictionary(
    atlas: Atlas, name: str, index: FeatureIndex | None, quality: Quality | None
) -> tuple[object, ...]:
    path = atlas.place("dictionaries", name) / "dictionary.json"
    if index is not None and not path.is_file():  # neurons, which are stored nowhere
        record = {"config": index.manifest["made_from"]["dictionary_config"]}
    else:
        record = read_json(path)
    config = DictionaryConfig(**record["config"])
    labels = atlas.labels(name)
    fidelity = None if quality is None else quality.fidelity
    trained = record.get("made_from", {}).get("figures", {})
    l0 = trained.get("l0") if fidelity is None else fidelity.l0
    if index is not None and index.num_considered:
        l0 = float(index.num_active.sum()) / index.num_considered
    fvu = trained.get("fvu") if fidelity is None else fidelity.fvu
    most = f"at most {config.k}" if config.kind == "topk" else "no fixed number"
    if config.kind == "neurons":
        most = "the strongest 1 % of each neuron"
    labelled = None if labels is None else number(sum(one.name is not None for one in labels))
    summary = {} if labels is None else labels.summary
    if unclear := summary.get("num_unclear"):
        said = join(number(unclear), " unclear")
        labelled = join(labelled, tag("div", said, class_="interval"))
    return (
        tag("code", name, class_="name"),
        config.site_in if not config.transcoder else f"{config.site_in} → {config.site_out}",
        number(config.d_dict),
        join(number(finite(l0)), tag("div", most, class_="interval")),
        number(finite(fvu)),
        number(None if fidelity is None else fidelity.said("loss_recovered_zero"), "share"),
        number(None if index is None else float((index.num_active == 0).mean()), "share"),
        labelled or number(None),
        number(finite(summary.get("median_auroc"))),
    )


# Features


def removed_features(prompt: Concepts) -> set[tuple[str | None, int]]:
    """The features that were removed one by one."""
    return {(one.id.rpartition("/")[0], int(one.id.rpartition("/")[2])) for one in prompt.removed}


def examples_of(atlas: Atlas, count: int = 2) -> More:
    """The strongest examples of a concept's feature, where it is indexed."""

    def more(concept: Concept) -> Markup | None:
        name, _, number_ = concept.id.rpartition("/")
        if not atlas.is_indexed(name):
            return None
        shown = snippets(atlas.features(name).top(int(number_)), count)
        return tag("ul", shown, class_="snippets") if shown else None

    return more


def features_html(atlas: Atlas, named: set[tuple[str | None, int]], most: int) -> Markup | None:
    """The features `named`, and a random sample of the others, about `most`, to search and sort;
    None where nothing is indexed."""
    indexes = {name: atlas.features(name) for name in atlas.shown_names}
    if not indexes:
        return None
    each = max(FEWEST_EACH, most // len(indexes))
    chosen: dict[str, list[int]] = {}
    total = 0
    for name, index in indexes.items():
        labels = atlas.labels(name)
        alive = np.flatnonzero(index.num_active)
        pool = [int(f) for f in alive if labels is None or f in labels]
        draw = np.random.default_rng(seeded(0, "report", name))
        sample = set(draw.permutation(pool)[:each].tolist())
        sample |= {f for of, f in named if of == name and 0 <= f < index.num_features}
        total += len(pool)
        chosen[name] = sorted(sample)

    def link(name: str) -> Callable[[int], str | None]:
        return lambda other: f"#{name}-{other}" if other in chosen[name] else None

    items = [
        feature_html(
            name,
            labels.get(f) if (labels := atlas.labels(name)) else None,
            index,
            f,
            atlas.feature_label,
            link(name),
        )
        for name, index in indexes.items()
        for f in chosen[name]
    ]
    names = [tag("option", name, value=name) for name in indexes]
    controls = tag(
        "div",
        tag("label", "Search ", tag("input", type="search", placeholder="a label, a word")),
        tag("label", "Dictionary ", tag("select", tag("option", "all", value=""), names)),
        tag(
            "label",
            "Sort by ",
            tag("select", [tag("option", text, value=key) for key, text in ORDERS.items()]),
        ),
        tag("output"),
        class_="controls",
        id="feature-controls",
        hidden=True,
    )
    shown = (
        "Shown are ",
        number(len(items)),
        " of ",
        number(total),
        " active features: a random sample, and those that the results above name.",
    )
    return join(tag("p", shown), controls, tag("ul", items, id="feature-list", class_="list"))


# Saved results


def _trace(graph: Graph, label: LabelOf) -> Markup:
    return tag("article", picture_html(picture(graph, label)), class_="card")


def _opened(results: Results[R]) -> tuple[list[R], list[str]]:
    """The results of one kind, the newest first, and why others cannot be read."""
    found, failed = [], []
    for name in reversed(results.names):
        try:
            found.append(results.open(name))
        except InscapeError as error:
            failed.append(f"{name}.json cannot be shown: {error}")
    return found, failed


def _shown(opened: tuple[list[R], list[str]], render: Callable[[R], Markup]) -> Markup | None:
    """All of them on the page; None where there are none."""
    notes = [tag("p", text, class_="note") for text in opened[1]]
    return join([render(result) for result in opened[0]], notes) if any(opened) else None
