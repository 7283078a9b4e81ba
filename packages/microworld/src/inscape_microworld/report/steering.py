"""A steering study on the page: dose and response, the price in fluency, samples side by side."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.report.charts import legend
from inscape.report.markup import Markup, join, tag
from inscape.report.parts import barred, fold, number, table
from inscape_microworld.report.charts import Series, line_chart
from inscape_microworld.report.figures import Figure
from inscape_microworld.report.parts import checks_table, feature_list, figure, judged_and_rest
from inscape_microworld.report.schema import DoseLine, PromptSet, Sample, SteeringStudy

SHOWN = 4  # samples before the rest is folded
PRICE = "nats per token above the unsteered text"


def steering_html(study: SteeringStudy) -> Markup:
    """One study as an `<article>`."""
    return tag(
        "article",
        tag("h3", study.title),
        tag("p", study.description) if study.description else None,
        feature_list("Steered", study.features) if study.features else None,
        _sets(study.sets, caption=study.measure),
        checks_table(study.outcomes, caption=_outcomes(study)),
        _charts(study) if any(line.doses for line in study.lines) else None,
        _samples(study.samples),
        class_="card",
    )


def _sets(sets: Sequence[PromptSet], *, caption: str) -> Markup | None:
    rows = [
        (
            s.name,
            _barred(s.before, "plain"),
            join(_barred(s.after.figure, "for-right"), judged_and_rest(s.after)),
        )
        for s in sets
    ]
    heads = ["prompts", "before", "after"]
    return table(heads, rows, caption=caption, class_="bars") if rows else None


def _barred(given: Figure, style: str) -> Markup:
    return barred(given.value, "share", style, beside=figure(given, alone=False))


def _outcomes(study: SteeringStudy) -> str:
    if all(outcome.bar for outcome in study.outcomes):
        return "Against the bars"
    return f"Measured change: {study.measure}"


def _charts(study: SteeringStudy) -> Markup:
    lines = [line for line in study.lines if line.doses]
    effect, price = _effects(lines), _prices(lines)
    unit = lines[0].doses[0].effect.unit
    strength = f"strength ({study.strength_unit})" if study.strength_unit else "strength"
    charts = [
        tag(
            "figure",
            tag("figcaption", study.measure),
            line_chart(effect, title=study.title, x=strength, y=study.measure, unit=unit),
        )
    ]
    if any(s.points for s in price):
        charts.append(
            tag(
                "figure",
                tag("figcaption", f"price in fluency: {PRICE}"),
                line_chart(price, title=f"{study.title}, price", x=strength, y=PRICE),
            )
        )
    return join(
        tag("h4", "Effect and price by strength"),
        tag("p", "over ", number(study.num_prompts), " prompts", class_="note"),
        legend({s.style: s.name for s in effect}, levels=[s.style for s in effect if s.level]),
        tag("div", charts, class_="charts"),
        fold("All figures of the charts", _doses(lines)),
    )


def _effects(lines: Sequence[DoseLine]) -> list[Series]:
    return [
        Series(
            line.name,
            tuple(
                (d.strength, d.effect.value, d.effect.low, d.effect.high)
                for d in line.doses
                if d.effect.value is not None
            ),
            style=i,
            level=len(line.doses) == 1,
        )
        for i, line in enumerate(lines)
        if any(d.effect.value is not None for d in line.doses)
    ]


def _prices(lines: Sequence[DoseLine]) -> list[Series]:
    return [
        Series(
            line.name,
            tuple(
                (d.strength, d.extra_loss, None, None)
                for d in line.doses
                if d.extra_loss is not None
            ),
            style=i,
            level=len(line.doses) == 1,
        )
        for i, line in enumerate(lines)
        if any(d.extra_loss is not None for d in line.doses)
    ]


def _doses(lines: Sequence[DoseLine]) -> Markup:
    rows = [
        (
            line.name,
            line.kind,
            number(dose.strength),
            figure(dose.effect),
            number(dose.loss),
            number(dose.extra_loss),
        )
        for line in lines
        for dose in line.doses
    ]
    heads = ["steered by", "kind", "strength", "effect", "loss (nats)", "extra loss (nats)"]
    return table(heads, rows, what="figures of the charts", numeric=[2, 4, 5])


def _samples(samples: Sequence[Sample]) -> Markup | None:
    if not samples:
        return None
    notes = {sample.note for sample in samples}
    shared = notes.pop() if len(notes) == 1 else ""
    items = [
        tag(
            "li",
            tag("p", tag("q", sample.prompt), class_="prompt"),
            tag(
                "div",
                tag("div", tag("h5", "plain"), tag("p", sample.plain.lstrip(" "), dir="auto")),
                tag("div", tag("h5", "steered"), tag("p", sample.steered.lstrip(" "), dir="auto")),
                class_="pair",
            ),
            tag("p", sample.note, class_="note") if sample.note and not shared else None,
        )
        for sample in samples
    ]
    return join(
        tag("h4", "Samples"),
        tag("p", shared, class_="note") if shared else None,
        tag("ul", items[:SHOWN], class_="samples"),
        fold(f"{len(items) - SHOWN} more samples", tag("ul", items[SHOWN:], class_="samples"))
        if items[SHOWN:]
        else None,
    )
