"""Features on the page: what a feature reacts to, and what the model says when it is changed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from inscape.atlas import Feature
from inscape.core import LabelOf, no_label, tokens_as_label
from inscape.features import Example, FeatureIndex
from inscape.intervention import SteerResult
from inscape.labels import Label
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import finite
from inscape.report.parts import feature_name, fold, number, snippet, tokens_line

EXAMPLES, EFFECTS = 4, 8
_FEATURE = re.compile(r"([\w.+-]+)/(\d{1,9})\b")


def feature_html(name: str, label: Label | None, index: FeatureIndex, feature: int) -> Markup:
    """A folded list item; its attributes are what the page's script sorts and filters by."""
    named = None if label is None else label.name
    auroc = None if label is None or named is None else finite(label.auroc)
    title = join(
        feature_name(f"{name}/{feature}", named or tokens_as_label(index.peak_tokens(feature))),
        tag("span", number(float(index.density[feature]), "share"), " of tokens", class_="note"),
    )
    return tag(
        "li",
        fold(title, feature_body(index, feature, label)),
        class_="feature",
        data_dictionary=name,
        data_density=repr(float(index.density[feature])),
        data_auroc=-1 if auroc is None else repr(auroc),
    )


def feature_picture(feature: Feature) -> Markup:
    """One feature by itself, as an `<article>`."""
    index = feature.features
    unknown = tag("p", "Not indexed: nothing is known yet of where it is active.", class_="note")
    return tag(
        "article",
        tag("p", feature_name(feature.id, feature.shown)),
        unknown if index is None else feature_body(index, feature.index),
        class_="card",
    )


def feature_body(index: FeatureIndex, feature: int, label: Label | None = None) -> Markup:
    """Figures, examples, and the tokens that it raises and lowers."""
    facts: list[tuple[str, Markup]] = [
        ("active on", join(number(float(index.density[feature]), "share"), " of tokens")),
        ("largest activation", number(float(index.max[feature]))),
    ]
    if label is not None and label.name and finite(label.auroc) is not None:
        facts.append(("AUROC of the label (0.5 is chance)", number(label.auroc)))
    raised, lowered = (
        effects[:EFFECTS] for effects in (index.promoted(feature), index.suppressed(feature))
    )
    return join(
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="cards"),
        tag("ul", snippets(index.top(feature)), class_="snippets"),
        _effects("Next tokens that it makes more likely", raised),
        _effects("Next tokens that it makes less likely", lowered),
    )


def _effects(title: str, effects: Sequence[tuple[str, float]]) -> Markup | None:
    unit = tag("span", " logits per unit of activation", class_="note")
    return join(tag("h4", title, unit), tokens_line(effects)) if effects else None


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
