"""A diagnosis on the page: the failure, the verdict, and the interventions that prove it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inscape.core import Share
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
        title: its heading; the prompt by default.
        more: what follows the repair; notes: what stands beside the figures of a set of prompts.
    """
    return tag(
        "article",
        tag("h3", title or given.prompt),
        tag("p", description) if description else None,
        _failure(given),
        _repair(given),
        prompt_sets(
            {name: (given.before[name], given.after[name]) for name in given.before},
            caption="Correct answers on other sets of prompts",
            heads=("without the repair", "with it"),
            notes=notes,
        ),
        more,
        _candidates("Features for the wrong answer, each removed alone", given.for_wrong),
        _candidates("Features for the correct answer, each removed alone", given.for_correct),
        [tag("p", note, class_="note") for note in given.notes],
        class_="card",
    )


def _failure(given: Diagnosis) -> Markup:
    rows = [
        (
            "correct answer",
            tag("code", visible_token(given.correct)),
            barred(given.correct_probability, "share", "for-right"),
        )
    ]
    if given.wrong:
        said = tag("code", visible_token(given.wrong))
        shown = barred(given.wrong_probability, "share", "for-wrong")
        rows.insert(0, ("wrong answer", said, shown))
    counted = (
        (number(given.num_failures), " of ", number(given.num_prompts), " prompts are answered "),
        ("wrongly; on these the wrong answer leads by ", number(given.lead, "logits")),
        " on average." if given.num_failures > 1 else ".",
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
        tag("p", counted, class_="note"),
    )


def _repair(given: Diagnosis) -> Markup | None:
    if not given.num_failures:
        return None
    random = given.random
    control = None
    if random.value is not None and random.interval is not None:
        beside = join(
            span(*random.interval, "share"), f"; {random.num_sets} sets of {random.num_features}"
        )
        control = barred(random.value, "share", "plain", beside=beside)
    rows = [
        ("without the features found", share(given.repaired, "for-right")),
        ("without random features as active as these", control or number(None)),
        ("with the correct answer's own features doubled", share(given.amplified, "plain")),
    ]
    removed = f"Features removed together ({len(given.removed)}), with figures for each one alone"
    scale = max((abs(found.margin) for found in given.removed), default=0.0)
    return join(
        tag("h4", "Repair"),
        table(["failing prompts", "answered correctly"], rows, what="repair", class_="bars"),
        fold(removed, _candidate_table(removed, given.removed, scale), open_=len(given.removed) < 4)
        if given.removed
        else None,
    )


def prompt_sets(
    sets: Mapping[str, tuple[Share, Share]],
    *,
    caption: str,
    heads: tuple[str, str] = ("before", "after"),
    notes: Mapping[str, object] | None = None,
) -> Markup | None:
    """Fractions of answers on each set of prompts, before and after."""
    if not sets:
        return None
    rows = [
        (name, share(before, "plain"), join(share(after, "for-right"), (notes or {}).get(name)))
        for name, (before, after) in sets.items()
    ]
    return table(["prompts", *heads], rows, caption=caption, class_="bars")


def _candidates(title: str, found: Sequence[Candidate]) -> Markup | None:
    """The first features in a table, the others folded beneath it."""
    if not found:
        return None
    shown = found if len(found) <= SHOWN + 1 else found[:SHOWN]
    rest = found[len(shown) :]
    scale = max(abs(one.margin) for one in found)
    return join(
        tag("p", title, class_="caption"),
        _candidate_table(title, shown, scale),
        fold(f"{len(rest)} more", _candidate_table(title, rest, scale)) if rest else None,
    )


def _candidate_table(what: str, found: Sequence[Candidate], scale: float) -> Markup:
    rows = [
        (
            feature_name(one.name, one.label),
            barred(one.margin, "", "for-wrong" if one.margin > 0 else "for-right", largest=scale),
            number(one.wrong),
            number(one.correct),
            number(one.repaired),
            number(one.estimate),
            tokens_line((token, value) for _, token, value in one.tokens),
        )
        for one in found
    ]
    heads = [
        "feature",
        "the wrong answer's lead shrinks by (logits)",
        "wrong logit changes by",
        "correct logit changes by",
        "prompts made correct",
        "estimate of the shrinkage",
        "active on (activation)",
    ]
    return table(heads, rows, what=what, numeric=[2, 3, 4, 5], class_="bars suspects")
