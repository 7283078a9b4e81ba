"""Features on the page: what a feature reacts to, and what it makes the model say."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.atlas import Feature
from inscape.core import tokens_as_label
from inscape.features import Example, FeatureIndex
from inscape.labels import Label
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import finite
from inscape.report.parts import feature_name, fold, number, snippet, tokens_line

EXAMPLES, EFFECTS = 4, 8


def feature_html(name: str, label: Label | None, index: FeatureIndex, feature: int) -> Markup:
    """A folded list item; its attributes are what the page's script sorts and filters by."""
    accuracy = None if label is None else finite(label.balanced_accuracy)
    named = None if label is None else label.name
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
        data_accuracy=-1 if accuracy is None else repr(accuracy),
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
        ("active on", number(float(index.density[feature]), "share")),
        ("largest activation", number(float(index.max[feature]))),
    ]
    if label is not None and finite(label.balanced_accuracy) is not None:
        facts.append(
            ("label is right on (50 % is chance)", number(label.balanced_accuracy, "share"))
        )
    raised, lowered = (
        effects[:EFFECTS] for effects in (index.promoted(feature), index.suppressed(feature))
    )
    return join(
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="cards"),
        tag("ul", snippets(index.top(feature)), class_="snippets"),
        tag("h4", "Next tokens that it makes more likely") if raised else None,
        tokens_line(raised) if raised else None,
        tag("h4", "Next tokens that it makes less likely") if lowered else None,
        tokens_line(lowered) if lowered else None,
    )


def snippets(examples: Sequence[Example], count: int = EXAMPLES) -> list[Markup]:
    """The first `count` examples that read differently."""
    different = {example.tokens: example for example in reversed(examples)}
    chosen = [e for e in examples if different[e.tokens] is e]
    return [snippet(e.tokens, e.values, f"document {e.document}") for e in chosen[:count]]
