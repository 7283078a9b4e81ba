"""The page of the demo: what a newcomer reads of a real model."""

from __future__ import annotations

from math import isfinite

from inscape.core import tokens_as_label
from inscape.diagnosis import Diagnosis
from inscape.diagnosis.result import amount
from inscape.report.atlas_page import examples_of, features_html, removed_features
from inscape.report.concepts import concepts_html
from inscape.report.demo import Asked, Demo, Searched, Tried
from inscape.report.diagnosis import diagnosis_html
from inscape.report.features import feature_body, steering_html
from inscape.report.guide import GUIDES, TERMS
from inscape.report.markup import Markup, join, tag
from inscape.report.page import document
from inscape.report.parts import feature_name, fold, number, table
from inscape.storage import atomic_write

MOST_FEATURES, SHOWN = 36, 5
LEAD = (
    "SmolLM2 is a language model: it reads a text piece by piece and says what comes next. While "
    "it reads, thousands of numbers light up inside. Here they are taken apart into concepts that "
    "have a name, so that you can see what the model has in mind, and change it. What the model "
    "says and does was measured on this machine while the page was made; how often a feature is "
    "active in general, and how well its name holds, was measured when its atlas was made."
)


SEARCH = (
    "Each topic was searched for by its name, in the names of features, in what these mean, and in "
    "examples. What was found was tried on eight sentences that were written for this page: four "
    "about the topic, and four about things nearby or with the same words, on which a feature of "
    "the topic is silent."
)


def write_demo(made: Demo) -> None:
    """Writes the page to `made.page`."""
    atomic_write(made.page, demo_html(made).encode())


def demo_html(made: Demo) -> str:
    """The whole page."""
    first, *others = made.asked
    prompts = [_asked(made, one) for one in others]
    searches = [search_html(made, one) for one in made.searches]
    parts = [
        ("paella", "One prompt, token by token", _paella(made, first)),
        ("prompts", "More prompts", [_guide(GUIDES["prompts"]), *prompts]),
        ("search", "Concepts looked for by name", [_guide(SEARCH), *searches]),
        ("features", "Features with their names", _features(made)),
        ("limits", "What this cannot tell", _limits(made)),
    ]
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in parts]
    terms = tag("dl", [(tag("dt", name), tag("dd", text)) for name, text in TERMS.items()])
    body = tag(
        "main",
        tag(
            "header",
            tag("h1", "What a language model has in mind"),
            tag("p", LEAD, class_="lead"),
            fold("The terms on this page", tag("div", terms, class_="terms")),
        ),
        tag("nav", tag("ul", links), aria_label="On this page"),
        [
            tag("section", tag("h2", title), content, id=anchor, aria_label=title)
            for anchor, title, content in parts
        ],
        class_="page",
    )
    return document("inscape: what a language model has in mind", body, script="page.js")


def _guide(text: str) -> Markup:
    return tag("p", text, class_="guide")


# Prompts


def _paella(made: Demo, first: Asked) -> Markup:
    found = made.diagnosis
    guide = (
        "Paella comes from Spain, and SmolLM2 says otherwise. Which concept leads it astray was "
        "found by a search, not by hand: features were removed one by one while the model read, "
        "until it gave the right answer."
    )
    return join(
        _guide(guide),
        concepts_html(first.concepts, examples_of(made.atlas)),
        _control(found, first.concepts.deciding is not None),
        fold("How this was found", diagnosis_html(found)),
        fold(
            "What it writes with and without", steering_html(made.steered, made.atlas.feature_label)
        ),
    )


def _control(found: Diagnosis, decided: bool) -> Markup:
    """What it takes, where that is not one feature that was shown, and how often random features do
    the same."""
    random = found.random
    if not found.removed or random.value is None:
        return tag("p", "No set of features was found whose removal brings the right answer.")
    several = len(found.removed) > 1
    without = ""
    if several or not decided:
        names = "; ".join(f"{one.name} ({one.label or 'no name'})" for one in found.removed)
        without = (
            f"The right answer comes without {amount(len(found.removed), 'feature')}: {names}. "
        )
    what = f"{random.num_features} random features" if several else "a random feature"
    return tag(
        "p",
        f"{without}Is that chance? With {what} removed instead, as active as what was found, the "
        f"right answer came in ",
        number(random.value, "share"),
        f" of {random.num_sets} trials.",
    )


def _asked(made: Demo, one: Asked) -> Markup:
    """A prompt, with what would be right."""
    said, correct = one.concepts.answer, tag("q", one.correct.strip())
    whole = number(one.probability, "share")
    remark: tuple[object, ...] = ("That is right. ",)
    if not said.strip() or not one.correct.startswith(said):
        remark = "That is wrong: ", correct, " would be right, which has ", whole, ". "
    elif one.correct != said:
        remark = "That is right: ", correct, " as a whole has ", whole, ". "
    return concepts_html(one.concepts, examples_of(made.atlas), remark, folded=True)


# Search


def search_html(made: Demo, given: Searched) -> Markup:
    """A topic with what was found, as an `<article>`."""
    topic, best = given.topic, given.best
    heads = [
        "feature",
        f"about it, of {len(topic.about)}",
        f"{topic.apart_from}, of {len(topic.near)}",
    ]
    rows = [(_name(made, one), number(one.about), number(one.near)) for one in given.ranked[:SHOWN]]
    sentences = (
        tag("h5", "about it"),
        tag("ul", [tag("li", text) for text in topic.about]),
        tag("h5", topic.apart_from),
        tag("ul", [tag("li", text) for text in topic.near]),
    )
    return tag(
        "article",
        tag("h3", tag("q", topic.query)),
        tag("p", _verdict(made, given), class_="lead"),
        table(heads, rows, caption="sentences in which each is active", numeric=[1, 2])
        if rows
        else None,
        fold("The sentences", sentences),
        fold("The feature in full", _whole(made, best)) if best else None,
        class_="card",
    )


def _verdict(made: Demo, given: Searched) -> Markup:
    """What the trial says of the best feature, in a sentence."""
    topic, best = given.topic, given.best
    if best is None:
        return join("Nothing was found.")
    num_about, num_near = len(topic.about), len(topic.near)
    name = _name(made, best)
    if best.found.label is None:
        name = join("a feature without a name, most active on ", name)
    figures = (
        f"active in {best.about} of {num_about} sentences about it and in {best.near} of "
        f"{num_near} about {topic.apart_from}"
    )
    if best.about == num_about and not best.near:
        return join("Found: ", name, f" is {figures}.")
    if best.about - best.near >= 2 and best.near <= 1:
        return join("Found in part: ", name, f" is {figures}.")
    if best.about > num_about // 2:
        return join("No feature of its own was found: the nearest, ", name, f", is {figures}.")
    return join("Not found: the nearest, ", name, f", is {figures}.")


def _name(made: Demo, one: Tried) -> Markup:
    label = one.found.label
    return feature_name(one.found.id, label or tokens_as_label(one.found.tokens))


def _whole(made: Demo, one: Tried) -> Markup:
    name, _, feature = one.found.id.rpartition("/")
    labels = made.atlas.labels(name)
    label = labels.get(int(feature)) if labels else None
    return feature_body(made.atlas.features(name), int(feature), label, made.atlas.feature_label)


# Features and limits


def _features(made: Demo) -> Markup:
    named = {found for one in made.asked for found in removed_features(one.concepts)}
    return join(_guide(GUIDES["features"]), features_html(made.atlas, named, MOST_FEATURES))


def _limits(made: Demo) -> Markup:
    atlas = made.atlas
    items = [
        "A name is a guess by a program. How often it holds is said with each feature; it rarely "
        "says all that the feature does, and a feature often stands for more than one thing.",
        "That a concept is active does not show that the model uses it. Only removing it does, "
        "and that was done for the few features that say so.",
        "A concept that is not found may still be in the model: in another layer, spread over "
        "several features, or not in the text that was indexed.",
        "SmolLM2 is small. Much of what it says is wrong, and its concepts are coarser than those "
        "of large models.",
    ]
    for name in atlas.shown_names:
        labels = atlas.labels(name)
        if labels is None:
            continue
        summary = labels.summary
        index = atlas.features(name)
        median = summary.get("median_auroc")
        items.append(
            join(
                tag("code", name, class_="name"),
                ": ",
                number(summary["num_labelled"]),
                " of ",
                number(index.num_features),
                " features have a name, ",
                number(summary["num_unclear"]),
                " are unclear, and the others are active too rarely",
                (
                    "; in the median a name tells where its feature is active in ",
                    number(median, "share"),
                    " of pairs (chance: 50 %).",
                )
                if median is not None and isfinite(median)
                else ".",
            )
        )
    return tag("ul", [tag("li", item) for item in items], class_="plain")
