"""A diagnosis on the page: the failure, the verdict, and the interventions that prove it."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.report.figures import Figure
from inscape.report.markup import Markup, join, tag
from inscape.report.parts import (
    checks_table,
    feature_name,
    figure,
    fold,
    measure_line,
    number,
    table,
)
from inscape.report.parts import visible as visible_token
from inscape.report.schema import BaselineRow, DiagnosisView, PromptSet, SuspectRow

SHOWN = 5  # features in a table before the rest is folded
MEANING = {
    "right": "the model answers rightly here, there is nothing to diagnose",
    "outvoted": "the right concept is there, and features for the wrong answer outweigh it",
    "inhibited": "features hold the right answer down",
    "absent or unknown": "nothing that was tried brings the right answer back, and the model "
    "gives it almost no probability",
    "undecided": "nothing that was tried brings the right answer back",
}


def diagnosis_html(view: DiagnosisView) -> Markup:
    """One diagnosis as an `<article>`."""
    return tag(
        "article",
        tag("h3", view.title),
        tag("p", view.description) if view.description else None,
        _failure(view),
        _repair(view),
        prompt_sets(
            view.sets,
            caption="Right answers by set of prompts",
            before="right before",
            after="right after",
        ),
        _baselines(view.baselines),
        _suspects("Features for the wrong answer, each removed alone", view.for_wrong),
        _suspects("Features for the right answer, each removed alone", view.for_right),
        checks_table(view.checks, caption="Against the bars"),
        class_="card",
    )


def _failure(view: DiagnosisView) -> Markup:
    meaning = MEANING.get(view.mechanism)
    rows: list[tuple[object, object, object]] = [
        (
            "right answer",
            tag("code", visible_token(view.right)),
            _bar(view.right_probability, 1.0, "share", "for-right"),
        )
    ]
    if view.wrong:
        said = tag("code", visible_token(view.wrong))
        rows.insert(
            0, ("the model says", said, _bar(view.wrong_probability, 1.0, "share", "for-wrong"))
        )
    else:
        rows.append(("any other answer", None, number(view.wrong_probability, "share")))
    counted = join(
        number(view.num_failures),
        " of ",
        number(view.num_prompts),
        " prompts are answered wrongly; the wrong answer leads by ",
        number(view.clean_margin, "logits"),
        " on average.",
    )
    return join(
        tag("p", tag("q", view.prompt), class_="prompt"),
        table(["", "answer", "probability"], rows, what="answers", class_="bars"),
        tag(
            "p",
            "Verdict: ",
            tag("strong", view.mechanism),
            f" – {meaning}." if meaning else None,
            class_="lead",
        ),
        tag("p", counted, class_="note"),
    )


def _bar(value: float | None, largest: float, unit: str, style: str) -> Markup:
    """A figure with a bar as long as its share of the largest."""
    share = 0.0 if value is None or largest <= 0 else min(1.0, abs(value) / largest)
    fill = tag("span", class_=f"fill {style}", style=f"width:{100 * share:.1f}%")
    track = tag("span", fill, class_="track", aria_hidden="true")
    return tag("span", track, number(value, unit), class_="barred")


def _suspects(title: str, rows: Sequence[SuspectRow]) -> Markup | None:
    """The first features in a table, the others folded beneath it."""
    if not rows:
        return None
    shown = rows if len(rows) <= SHOWN + 1 else rows[:SHOWN]
    rest = rows[len(shown) :]
    scale = max(abs(row.margin) for row in rows)
    return join(
        tag("p", title, class_="caption"),
        _suspect_table(title, shown, scale),
        fold(f"{len(rest)} more", _suspect_table(title, rest, scale)) if rest else None,
    )


def _suspect_table(what: str, rows: Sequence[SuspectRow], scale: float) -> Markup:
    body = [
        (
            feature_name(row.feature),
            _bar(row.margin, scale, "", "for-wrong" if row.margin > 0 else "for-right"),
            number(row.wrong),
            number(row.right),
            None if row.repaired is None else number(row.repaired),
            None if row.estimate is None else number(row.estimate),
            _active(row),
        )
        for row in rows
    ]
    heads = [
        "feature",
        "the wrong answer's lead loses (logits)",
        "wrong logit moves",
        "right logit moves",
        "prompts restored",
        "estimated loss of lead",
        "active on (activation, position)",
    ]
    empty = {i for i in range(len(heads)) if all(cells[i] is None for cells in body)}
    kept = [i for i in range(len(heads)) if i not in empty]
    numeric = [place for place, i in enumerate(kept) if i in (2, 3, 4, 5)]
    return table(
        [heads[i] for i in kept],
        [[cells[i] for i in kept] for cells in body],
        what=what,
        numeric=numeric,
        class_="bars suspects",
    )


def _active(row: SuspectRow) -> Markup:
    items = [
        tag(
            "span",
            tag("code", visible_token(t.token)),
            "\u00a0",
            number(t.activation),
            " at ",
            number(t.position),
            class_="token",
        )
        for t in row.tokens
    ]
    return tag("div", [(item, " ") for item in items], class_="tokens")


def _repair(view: DiagnosisView) -> Markup | None:
    if view.repaired is None and not view.repair:
        return None
    rows: list[tuple[object, object]] = [
        (name, _share(given, style))
        for name, given, style in (
            ("the features found, removed together", view.repaired, "for-right"),
            ("as many matched random features removed", view.random, "plain"),
            ("the right answer's own features doubled", view.turned_up, "plain"),
        )
        if given is not None
    ]
    removed = f"Features removed together ({len(view.repair)}), with figures for each one alone"
    scale = max((abs(row.margin) for row in view.repair), default=0.0)
    return join(
        tag("h4", "Repair"),
        table(
            ["failing prompts answered rightly with", "share"], rows, what="repair", class_="bars"
        )
        if rows
        else None,
        fold(removed, _suspect_table(removed, view.repair, scale)) if view.repair else None,
    )


def _share(given: Figure, style: str) -> Markup:
    value = given.value or 0.0
    fill = tag("span", class_=f"fill {style}", style=f"width:{100 * min(1.0, value):.1f}%")
    return tag(
        "span",
        tag("span", fill, class_="track", aria_hidden="true"),
        figure(given),
        class_="barred",
    )


def prompt_sets(
    sets: Sequence[PromptSet], *, caption: str, before: str = "before", after: str = "after"
) -> Markup | None:
    """Shares of answers on each set, before and after."""
    if not sets:
        return None
    rows = [
        (
            s.name,
            _share(s.before, "plain"),
            measure_line(s.after, _share(s.after.figure, "for-right")),
        )
        for s in sets
    ]
    return table(["prompts", before, after], rows, caption=caption, class_="bars")


def _baselines(rows: Sequence[BaselineRow]) -> Markup | None:
    if not rows:
        return None
    names = list(dict.fromkeys(f.name for row in rows for f in row.after))
    body = []
    for row in rows:
        found = {f.name: f.figure for f in row.after}
        title = join(row.name, tag("div", row.setting, class_="note") if row.setting else None)
        body.append([title, *(figure(found.get(name)) for name in names)])
    return table(["plain method", *names], body, caption="Right answers after plain methods")
