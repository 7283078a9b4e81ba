"""A diagnosis on the page: the failure, the verdict, and the interventions that prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inscape.diagnosis import MEANING, Candidate, Diagnosis
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import EN_DASH
from inscape.report.parts import barred, feature_name, fold, number, share, span, table, tokens_line
from inscape.report.parts import visible as visible_token

SHOWN = 5  # features in a table before the rest is folded


def diagnosis_html(
    given: Diagnosis,
    title: str = "",
    description: str = "",
    *,
    more: object = None,
    notes: Mapping[str, object] | None = None,
) -> Markup:
    """One diagnosis as an `<article>`.

    Args:
        title: its heading; without one the prompt stands alone.
        more: what follows the repair; notes: what stands beside the figures of a set of prompts.
    """
    removed = {one.name: one for one in given.removed}
    harmful = [one for one in given.for_wrong if one.name not in removed]
    helpful = [one for one in given.for_correct if one.name not in removed]
    raising = [one for one in given.removed if one.margin > 0]
    others = [one for one in given.removed if one.margin <= 0]
    return tag(
        "article",
        tag("h3", title) if title else None,
        tag("p", description) if description else None,
        _failure(given),
        _repair(given),
        _prompt_sets(given, notes or {}),
        more,
        _candidates("Features for the wrong answer", [*raising, *harmful], removed),
        _candidates("Features for the correct answer", helpful, removed),
        _candidates("Other features of the repair", others, removed),
        [tag("p", note, class_="note") for note in given.notes],
        class_="card",
    )


def _failure(given: Diagnosis) -> Markup:
    writes = given.writes if given.answers_given else ""
    answers = (
        ("the model itself writes", writes, given.writes_probability, "plain"),
        ("wrong answer", given.wrong, given.wrong_probability, "for-wrong"),
        ("correct answer", given.correct, given.correct_probability, "for-right"),
    )
    rows = [
        (name, tag("code", visible_token(text)), barred(probability, "share", style))
        for name, text, probability, style in answers
        if text
    ]
    where = given.where_they_differ
    where = f" {where}" if where else ""
    lead: object = ("The wrong answer leads by ", number(given.lead, "logits"), f"{where}.")
    if given.num_prompts > 1:
        lead = (
            (number(given.num_failures), " of ", number(given.num_prompts)),
            " prompts are answered wrongly; on these the wrong answer leads by ",
            (number(given.lead, "logits"), " on average, at the first token that differs."),
        )
    return join(
        tag("p", tag("q", given.prompt), class_="prompt"),
        table(["", "answer", "probability"], rows, what="answers", class_="bars"),
        tag(
            "p",
            ("Verdict: ", tag("strong", given.mechanism), f" {EN_DASH} "),
            f"{MEANING[given.mechanism]}.",
            class_="lead",
        ),
        tag("p", lead, class_="note") if given.num_failures else None,
        _meaning(given),
        tag("p", f"Looked at: {given.searched_in}.", class_="note") if given.searched else None,
    )


def _meaning(given: Diagnosis) -> Markup | None:
    """What "correct" means, and what the model prefers, where answers were given."""
    if not given.num_failures:
        return tag("p", given.nothing_wrong, class_="note") if given.answers_given else None
    prefers = tag("code", visible_token(given.preferred)) if given.preferred else None
    said = ("Of the answers given the model prefers ", prefers, ". ") if prefers else None
    means = given.correct_explained
    return tag("p", said, f"{means}." if means else None, class_="note") if said or means else None


def _repair(given: Diagnosis) -> Markup | None:
    if not given.num_failures:
        return None
    random = given.random
    control = None
    if random.value is not None and random.interval is not None:
        sets = f"; {random.num_sets} sets of {random.num_features}"
        beside = join(span(*random.interval, "share"), sets)
        control = barred(random.value, "share", "plain", beside=beside)
    rows = [("with the correct answer's own features doubled", share(given.amplified, "plain"))]
    if given.removed:
        rows = [
            ("without the features found", share(given.repaired, "for-right")),
            ("without random features as active as these", control or number(None)),
            *rows,
        ]
    names = [
        ("; " if i else "", feature_name(f.name, f.label)) for i, f in enumerate(given.removed)
    ]
    none = "No set of features was found whose removal restores the correct answer."
    head = "answered correctly" if given.correct_word == "correct" else given.correct_word
    return join(
        tag("h4", "Repair"),
        tag("p", "Features removed together: " if names else none, names),
        table(["failing prompts", head], rows, what="repair", class_="bars"),
    )


def _prompt_sets(given: Diagnosis, notes: Mapping[str, object]) -> Markup | None:
    """Fractions of correct answers on each set of prompts, without and with the repair."""
    rows = [
        (name, share(before, "plain"), join(share(given.after[name], "for-right"), notes.get(name)))
        for name, before in given.before.items()
    ]
    heads = ["prompts", "without the repair", "with it"]
    caption = "Correct answers on other sets of prompts"
    if given.correct_word != "correct":
        caption = "Answers ahead of those given, on other sets of prompts"
    return table(heads, rows, caption=caption, class_="bars") if rows else None


def _candidates(
    title: str, found: Sequence[Candidate], removed: Mapping[str, Candidate]
) -> Markup | None:
    """What the removal of each alone does; the first features in a table, the others folded."""
    if not found:
        return None
    shown = found if len(found) <= SHOWN + 1 else found[:SHOWN]
    rest = found[len(shown) :]
    largest = max(abs(one.margin) for one in found)
    caption = f"{title}, each removed alone"
    return join(
        tag("p", caption, class_="caption"),
        _candidate_table(caption, shown, largest, removed),
        fold(f"{len(rest)} more", _candidate_table(caption, rest, largest, removed))
        if rest
        else None,
    )


def _candidate_table(
    what: str, found: Sequence[Candidate], largest: float, removed: Mapping[str, Candidate]
) -> Markup:
    repair = tag("div", "in the repair", class_="note")
    rows = [
        (
            join(feature_name(one.name, one.label), repair if one.name in removed else None),
            barred(one.margin, "", "for-wrong" if one.margin > 0 else "for-right", largest=largest),
            number(one.wrong),
            number(one.correct),
            number(one.repaired),
            number(one.estimate),
            _active(one),
        )
        for one in found
    ]
    heads = [
        "feature",
        "the wrong answer's lead shrinks by (logits)",
        "wrong answer's logit changes by",
        "correct answer's logit changes by",
        "prompts made correct",
        "estimate of the shrinkage",
        "active on (activation)",
    ]
    return table(heads, rows, what=what, numeric=[2, 3, 4, 5], class_="bars suspects")


def _active(one: Candidate) -> Markup:
    """Where a feature is most active."""
    if not one.tokens:
        return tag("span", "not active on this prompt", class_="none")
    tokens = tokens_line((token, value) for _, token, value in one.tokens)
    return join("only on the answer’s tokens:" if one.in_answer else None, tokens)
