"""From the results of inscape to the plain data of the demo's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inscape.diagnosis import Diagnosis
from inscape.features import Example, FeatureIndex
from inscape.intervention import Dose, SteerResult
from inscape.report.numbers import Unit
from inscape_microworld.benchmark.plain_methods import Baseline
from inscape_microworld.report.figures import Bar, Check, Figure
from inscape_microworld.report.schema import (
    BaselineRow,
    DiagnosisView,
    DoseLine,
    DosePoint,
    Sample,
    Snippet,
    TokenEffect,
)


def snippets(examples: Sequence[Example], count: int = 6) -> tuple[Snippet, ...]:
    """Examples of the feature index, the first `count` that read differently."""
    different = {e.tokens: e for e in reversed(examples)}  # of equal ones the first is kept
    chosen = [e for e in examples if different[e.tokens] is e]
    return tuple(
        Snippet(
            tokens=e.tokens, values=tuple(map(float, e.values)), source=f"document {e.document}"
        )
        for e in chosen[:count]
    )


def token_effects(
    index: FeatureIndex, feature: int, count: int = 8
) -> tuple[tuple[TokenEffect, ...], tuple[TokenEffect, ...]]:
    """(promoted, suppressed) tokens of a feature."""

    def effects(found: Sequence[tuple[str, float]]) -> tuple[TokenEffect, ...]:
        return tuple(TokenEffect(token=token, value=value) for token, value in found[:count])

    return effects(index.promoted(feature)), effects(index.suppressed(feature))


def diagnosis_view(
    diagnosis: Diagnosis,
    *,
    title: str,
    description: str = "",
    baselines: Sequence[Baseline] = (),
    checks: Sequence[Check] = (),
    bars: Mapping[str, Bar] | None = None,
) -> DiagnosisView:
    """A diagnosis for the page.

    baselines: what the plain methods repair; checks: figures against thresholds; bars: thresholds
    for the fraction of correct answers after the repair, by name of the set of prompts.
    """
    return DiagnosisView(
        title=title,
        description=description,
        diagnosis=diagnosis,
        baselines=tuple(
            BaselineRow(name=b.name, setting=b.setting, after=dict(b.after)) for b in baselines
        ),
        bars=dict(bars or {}),
        checks=tuple(checks),
    )


def dose_line(
    name: str, kind: str, doses: Sequence[Dose], *, unit: Unit = "share", plain: Dose | None = None
) -> DoseLine:
    """Doses of one way to steer; the price is counted from `plain`, or from strength 0."""
    zero = plain or next((d for d in doses if d.strength == 0), None)
    points = tuple(
        DosePoint(
            strength=dose.strength,
            effect=Figure.of(dose.effect, unit, interval=dose.interval),
            loss=dose.loss,
            extra_loss=None if zero is None else dose.loss - zero.loss,
        )
        for dose in doses
    )
    return DoseLine.model_validate({"name": name, "kind": kind, "doses": points})


def sample(result: SteerResult, note: str = "") -> Sample:
    """One prompt, plain beside steered."""
    return Sample(prompt=result.prompt, plain=result.plain, steered=result.steered, note=note)
