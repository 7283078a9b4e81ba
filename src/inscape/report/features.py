"""Features on the page: what a feature is called and how well that holds, what it reacts to, what
it makes the model say, what is near it; and what the model writes when features are changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from inscape.atlas import Feature
from inscape.core import LabelOf, no_label, tokens_as_label
from inscape.features import Example, FeatureIndex
from inscape.intervention import SteerResult
from inscape.labels import Label
from inscape.report.histogram import histogram
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import EN_DASH, finite
from inscape.report.page import MADE, document
from inscape.report.parts import barred, feature_name, fold, number, snippet, span, tokens_line
from inscape.storage import atomic_write, refuse_file

EXAMPLES, WEAKER, EFFECTS, NEAR = 4, 2, 8, 5
KINDS = {
    "word": "names a word or a part of one",
    "concept": "names a meaning",
    "prediction": "names what the model says next",
    "everywhere": "active on nearly every token",
    "unclear": "unclear",
}
WRITERS = {
    "offline": "a program, from the tokens and texts that it is active on",
    "person": "a person",
    "llm": "a language model",
    "published": "others, who published it",
}
Links = Callable[[int], str | None]
"""Where a feature of the same dictionary is shown: its address, None where it is not."""
_FEATURE = re.compile(r"([\w.+-]+)/(\d{1,9})\b")


def no_link(feature: int) -> str | None:
    """Where features are shown nowhere else."""
    return None


def feature_html(
    name: str,
    label: Label | None,
    index: FeatureIndex,
    feature: int,
    names: LabelOf = no_label,
    links: Links = no_link,
) -> Markup:
    """A folded list item; its attributes are what the page's script sorts and filters by."""
    named = None if label is None else label.name
    auroc = None if label is None or named is None else finite(label.auroc)
    title = join(
        feature_name(f"{name}/{feature}", named or tokens_as_label(index.peak_tokens(feature))),
        tag("span", number(float(index.density[feature]), "share"), " of tokens", class_="note"),
    )
    return tag(
        "li",
        fold(title, feature_body(index, feature, label, names, links)),
        class_="feature",
        id=f"{name}-{feature}",
        data_dictionary=name,
        data_density=repr(float(index.density[feature])),
        data_auroc=-1 if auroc is None else repr(auroc),
    )


def feature_picture(feature: Feature) -> Markup:
    """One feature by itself, as an `<article>`."""
    index = feature.features
    unknown = tag("p", "Not indexed: nothing is known yet of where it is active.", class_="note")
    body: object = unknown
    if index is not None:
        body = feature_body(index, feature.index, feature.about, feature.names)
    return tag(
        "article",
        tag("p", feature_name(feature.id, feature.shown), class_="lead"),
        body,
        class_="card",
    )


def write_feature(feature: Feature, path: Path) -> None:
    """Writes a page of one feature.

    Raises:
        InputError: `path` is a file that is no page of inscape.
        StorageError: `path` is a folder, or the disk is full or may not be written to.
    """
    refuse_file(path, MADE)
    body = tag("main", tag("h1", "A feature and its name"), feature_picture(feature), class_="page")
    atomic_write(path, document(f"inscape: {feature.id}", body).encode())


def feature_body(
    index: FeatureIndex,
    feature: int,
    label: Label | None = None,
    names: LabelOf = no_label,
    links: Links = no_link,
) -> Markup:
    """All that an index and a label say of a feature.

    Args:
        names: of the features near it; links: where these are shown.
    """
    density, examples = float(index.density[feature]), index.examples(feature)
    rarity = join(" (one in ", number(round(1 / density)), ")") if 0 < density < 0.5 else None
    facts = [
        ("active on", join(number(density, "share"), " of tokens", rarity)),
        ("largest activation", number(float(index.max[feature]))),
    ]
    raised, lowered = (
        effects[:EFFECTS] for effects in (index.promoted(feature), index.suppressed(feature))
    )
    near = partial(_near, index.dictionary, names=names, links=links)
    return join(
        naming(label),
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="cards"),
        tag("h4", "Where it is most active"),
        tag("ul", snippets([e for e in examples if e.quantile is None]), class_="snippets"),
        _weaker(index, examples),
        _effects("Next tokens that it makes more likely", raised),
        _effects("Next tokens that it makes less likely", lowered),
        fold("How strongly it is active, by number of tokens", histogram(index, feature)),
        near("Features that point the same way", "cosine", index.neighbours(feature)),
        near("Features that are active on the same tokens", "correlation", index.coactive(feature)),
    )


def naming(label: Label | None) -> Markup:
    """What a label claims and how well that was confirmed, in words."""
    if label is None:
        return tag(
            "p", "It has no name: it is active on too few tokens to test one.", class_="note"
        )
    if label.kind == "everywhere":
        return tag(
            "p", "It is active on nearly every token: there is nothing to name.", class_="note"
        )
    words = [(", " if i else "", tag("q", word)) for i, word in enumerate(label.words[:6])]
    fires = tag("p", "Active most often on ", words, ".") if words else None
    if label.name is None:
        unclear = (
            "No name: none of those that were tried tells the passages in which it is active from "
            "others. Judge by the examples."
        )
        return join(tag("p", unclear), fires)
    writer = WRITERS.get(label.source.partition(":")[0], label.source)
    about = (
        f"The name {EN_DASH} which {KINDS.get(label.kind, label.kind)} {EN_DASH} was written by "
    )
    said = tag("p", about, writer, "."), fires
    if finite(label.auroc) is None:
        return join(said, tag("p", "How well it holds was not measured.", class_="note"))
    rows = [("random passages", barred(label.auroc, "share", "for-right", beside=_interval(label)))]
    if finite(label.auroc_near) is not None:
        rows.append(("passages much like it", barred(label.auroc_near, "share", "for-right")))
    if finite(label.shuffled) is not None:
        other = barred(label.shuffled, "share", "plain")
        rows.append(("random passages, by another feature’s name", other))
    scores = [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows]
    return join(
        said,
        tag(
            "p",
            "How often the name picks out the passage in which the feature is active, beside one "
            f"of these (chance: 50 %; {label.num_positive} passages that it was not written from)",
            class_="note",
        ),
        tag("dl", scores, class_="scores"),
    )


def _interval(label: Label) -> Markup | None:
    low, high = finite(label.low), finite(label.high)
    return None if low is None or high is None else span(low, high, "share")


def _weaker(index: FeatureIndex, examples: Sequence[Example]) -> Markup | None:
    """Examples of each interval of strength, the strongest interval first."""
    count = int(index.manifest.get("num_quantiles", 5))
    parts = []
    for quantile in range(count - 1, -1, -1):
        inside = [e for e in examples if e.quantile == quantile]
        if inside:
            low, high = 100 * quantile // count, 100 * (quantile + 1) // count
            parts.append(tag("h5", f"at {low} to {high} % of its largest activation"))
            parts.append(tag("ul", snippets(inside, WEAKER), class_="snippets"))
    return fold("Examples from weaker to weakest", parts) if parts else None


def _effects(title: str, effects: Sequence[tuple[str, float]]) -> Markup | None:
    unit = tag("span", " logits per unit of activation", class_="note")
    return join(tag("h4", title, unit), tokens_line(effects)) if effects else None


def _near(
    dictionary: str,
    title: str,
    measure: str,
    found: Sequence[tuple[int, float]],
    *,
    names: LabelOf,
    links: Links,
) -> Markup | None:
    if not found:
        return None
    items = []
    for feature, value in found[:NEAR]:
        id, address = f"{dictionary}/{feature}", links(feature)
        code = tag("code", id, class_="name")
        shown = tag("a", code, href=address) if address else code
        label = names(dictionary, feature)
        said = tag("span", label, " ", class_="label") if label else None
        items.append(tag("li", shown, " ", said, tag("span", number(value), class_="note")))
    unit = tag("span", f" {measure}", class_="note")
    return join(tag("h4", title, unit), tag("ul", items, class_="features"))


def snippets(examples: Sequence[Example], count: int = EXAMPLES) -> list[Markup]:
    """The first `count` examples that read differently."""
    different = {example.tokens: example for example in reversed(examples)}
    chosen = [e for e in examples if different[e.tokens] is e]
    return [snippet(e.tokens, e.values, f"document {e.document}") for e in chosen[:count]]


def steered_features(result: SteerResult) -> list[tuple[str, int]]:
    """The features that were changed."""
    return [(m[1], int(m[2])) for change in result.changes for m in _FEATURE.finditer(change)]


def steering_html(result: SteerResult, labels: LabelOf = no_label) -> Markup:
    """One result as an `<article>`; labels: of the features that were changed."""

    def named(found: re.Match[str]) -> str:
        label = labels(found[1], int(found[2]))
        return f"{found[0]} [{label}]" if label else found[0]

    changes = _FEATURE.sub(named, "; ".join(result.changes))
    return tag(
        "article",
        tag("p", tag("q", result.prompt), class_="prompt"),
        tag("p", changes, class_="note"),
        tag(
            "div",
            _text("without the change", result.plain, result.plain_loss),
            _text("with it", result.steered, result.steered_loss),
            class_="pair samples",
        ),
        class_="card",
    )


def _text(title: str, text: str, loss: float | None) -> Markup:
    rated = tag("p", "loss ", number(loss, "nats"), " per token", class_="note")
    return tag(
        "div", tag("h5", title), tag("p", text.lstrip(" "), dir="auto", class_="text"), rated
    )
