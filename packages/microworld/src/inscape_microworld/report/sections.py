"""The parts of the page that tell of the model: header, dictionaries, concepts, traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inscape.report import diagnosis_html, picture_html
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import show
from inscape.report.parts import feature_name, fold, number, share, snippet, table, tokens_line
from inscape_microworld.report.figures import Figure, Measure
from inscape_microworld.report.guide import GUIDES, HOW_TO_READ
from inscape_microworld.report.parts import checks_table, judged, measure_cell, samples
from inscape_microworld.report.schema import (
    BaselineRow,
    Concept,
    DiagnosisView,
    DictionaryRow,
    Header,
    Snippet,
    Trace,
)


def section(anchor: str, title: str, *content: object) -> Markup:
    """A part of the page under its heading, with how to read it."""
    guide = tag("p", GUIDES[anchor], class_="guide") if anchor in GUIDES else None
    return tag("section", tag("h2", title), guide, content, id=anchor, aria_label=title)


def header(given: Header, findings: Markup | None = None) -> Markup:
    """Title, findings, the facts about model and run, time of each step, and how to read it."""
    facts: list[tuple[str, object]] = [
        ("model", given.model),
        ("parameters", number(given.num_parameters)),
        ("tokens read", number(given.num_tokens)),
        ("seed", number(given.seed)),
        ("inscape", given.version),
    ]
    if given.hardware:
        facts.append(("machine", given.hardware))
    steps = table(
        ["step", "time"],
        [(step.name, number(step.seconds, "seconds")) for step in given.steps],
        what="time of each step",
        numeric=[1],
        class_="steps",
    )
    spent = show(sum(step.seconds for step in given.steps), "seconds")
    return tag(
        "header",
        tag("h1", given.title),
        tag("p", given.summary, class_="lead") if given.summary else None,
        findings,
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="facts"),
        fold(f"Time of each step, {spent} in all", steps) if given.steps else None,
        fold("How to read this page", [tag("p", text) for text in HOW_TO_READ]),
    )


def dictionaries(rows: Sequence[DictionaryRow]) -> Markup:
    """One column a dictionary, and the skills kept beneath."""
    columns = [("dictionary", [tag("span", r.name, class_="name") for r in rows])]
    columns += [(name, [cell(row) for row in rows]) for name, cell in _DICTIONARY_CELLS]
    if any(row.note for row in rows):
        columns.append(("note", [tag("span", row.note, class_="note") for row in rows]))
    heads, *body = [[name, *cells] for name, cells in columns]
    skills = [_skills(row) for row in rows if row.skills]
    return join(table(heads, body, what="dictionaries", class_="measures"), skills)


def _skills(row: DictionaryRow) -> Markup:
    """Folded where every skill is kept; the weakest one stands in the title."""
    made = checks_table(row.skills, what=f"skills with {row.name}")
    title = f"Skills kept with {row.name} spliced in"
    known = [c for c in row.skills if c.figure.value is not None]
    if any(c.passed is False for c in row.skills) or not known:
        return join(tag("p", title, class_="caption"), made)
    least = min(known, key=lambda c: c.figure.value or 0.0)
    shown = show(least.figure.value, least.figure.unit)
    return fold(f"{title}; weakest, {least.name}: {shown}", made)


def _site(row: DictionaryRow) -> Markup:
    return join(row.site_in if row.site_in == row.site_out else f"{row.site_in} → {row.site_out}")


def _dead(row: DictionaryRow) -> Markup:
    if row.num_dead_tokens is None:
        return measure_cell(row.dead)
    told = row.dead is not None and row.dead.samples == row.num_dead_tokens
    over = tag("div", "over ", number(row.num_dead_tokens, "tokens"), class_="interval")
    return join(measure_cell(row.dead, rests=not told), over)


_DICTIONARY_CELLS: list[tuple[str, Callable[[DictionaryRow], Markup]]] = [
    ("site", _site),
    ("features", lambda row: number(row.d_dict)),
    ("active at most (k)", lambda row: number(row.k)),
    ("active on average (L0)", lambda row: measure_cell(row.l0)),
    ("unexplained variance (FVU)", lambda row: measure_cell(row.fvu)),
    ("dead features", _dead),
    ("loss recovered, zero ablation as floor", lambda row: measure_cell(row.loss_recovered_zero)),
    ("loss recovered, mean ablation as floor", lambda row: measure_cell(row.loss_recovered_mean)),
    ("extra loss", lambda row: measure_cell(row.extra_ce)),
]


def concepts(given: Sequence[Concept]) -> Markup:
    """Every concept; a description that all of them share is told once."""
    told = {c.description for c in given}
    shared = told.pop() if len(told) == 1 and len(given) > 1 else ""
    above = tag("p", shared) if shared else None
    return join(above, [concept(c, described=not shared) for c in given])


def concept(given: Concept, *, described: bool = True) -> Markup:
    """One concept: its feature, how well it detects, what it promotes, and examples."""
    figures = [
        (name, m)
        for name, m in (
            ("AUROC", given.auroc),
            ("F1", given.f1),
            ("precision", given.precision),
            ("recall", given.recall),
        )
        if m is not None
    ]
    # What all the figures rest on is told once, beneath them.
    rests = {(m.samples, m.sample_unit) for _, m in figures}
    plain = len(rests) == 1 and not any(m.note for _, m in figures)
    cards = [
        tag("div", tag("dt", name), tag("dd", measure_cell(m, rests=not plain)))
        for name, m in figures
    ]
    on = samples(figures[0][1]) if plain else None
    effects = [
        tag("div", tag("h4", title), tokens_line((e.token, e.value or 0.0) for e in items))
        for title, items in (
            ("Next tokens it raises", given.promoted),
            ("Next tokens it lowers", given.suppressed),
        )
        if items
    ]
    shown, more = given.examples[:3], given.examples[3:]
    return tag(
        "article",
        tag("h3", given.title),
        tag("p", given.description) if described else None,
        tag("p", feature_name(given.feature.name, given.feature.label), class_="name"),
        tag("dl", cards, class_="cards") if cards else None,
        tag("p", "on ", on, class_="note") if on else None,
        checks_table(given.beside, caption="The same task by other means"),
        tag("p", given.note, class_="note") if given.note else None,
        tag("ul", [_snippet(s) for s in shown], class_="snippets") if shown else None,
        fold("More examples", tag("ul", [_snippet(s) for s in more], class_="snippets"))
        if more
        else None,
        tag("div", effects, class_="pair") if effects else None,
        class_="card",
    )


def trace(given: Trace) -> Markup:
    """One traced prompt."""
    return tag(
        "article",
        tag("h3", given.title),
        tag("p", given.description) if given.description else None,
        picture_html(given.picture),
        checks_table(given.checks),
        class_="card",
    )


def _snippet(given: Snippet) -> Markup:
    return snippet(given.tokens, given.values, given.source)


def diagnosis(view: DiagnosisView) -> Markup:
    """One diagnosis, with the plain methods beside it and its thresholds."""
    notes = {
        name: judged(Measure(figure=Figure.share(view.diagnosis.after[name]), bar=limit))
        for name, limit in view.bars.items()
    }
    beside = join(
        _baselines(view.baselines), checks_table(view.checks, caption="Against the thresholds")
    )
    return diagnosis_html(view.diagnosis, view.title, view.description, more=beside, notes=notes)


def _baselines(rows: Sequence[BaselineRow]) -> Markup | None:
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row.after))
    body = [
        (
            join(row.name, tag("div", row.setting, class_="note") if row.setting else None),
            *(share(row.after.get(name)) for name in names),
        )
        for row in rows
    ]
    return table(["plain method", *names], body, caption="Correct answers after plain methods")
