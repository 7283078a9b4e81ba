"""From the results of other rooms to the report's plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inscape.diagnosis import Baseline, Diagnosis
from inscape.features import Example, FeatureIndex
from inscape.intervention import Dose, SteerResult
from inscape.report.figures import Bar, Check, Figure, Measure, Unit
from inscape.report.schema import (
    ActiveToken,
    BaselineRow,
    DiagnosisView,
    DoseLine,
    DosePoint,
    FeatureName,
    NamedFigure,
    PromptSet,
    Sample,
    Snippet,
    SuspectRow,
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
    diagnosis: Diagnosis | Mapping[str, Any],
    *,
    title: str,
    description: str = "",
    baselines: Sequence[Baseline] = (),
    checks: Sequence[Check] = (),
    bars: Mapping[str, Bar] | None = None,
) -> DiagnosisView:
    """A diagnosis, or its JSON form, for the page.

    baselines: what the plain methods repair; checks: figures against bars; bars: for the share of
    right answers after the repair, by name of the set of prompts.
    """
    data = diagnosis.to_json() if isinstance(diagnosis, Diagnosis) else diagnosis
    tried = data["num_failures"] > 0
    return DiagnosisView(
        title=title,
        description=description,
        prompt=data["prompt"],
        right=data["right_token"],
        wrong=data["wrong"],
        right_probability=data["right_probability"],
        wrong_probability=data["wrong_probability"],
        mechanism=data["mechanism"],
        clean_margin=data["clean_margin"],
        num_prompts=data["num_prompts"],
        num_failures=data["num_failures"],
        for_wrong=tuple(map(_suspect, data["for_wrong"])),
        for_right=tuple(map(_suspect, data["for_right"])),
        repair=tuple(map(_suspect, data["repair"])),
        repaired=Figure.share(data["repaired"]) if tried else None,
        random=Figure.share(data["random"]) if tried else None,
        turned_up=Figure.share(data["turned_up"]) if tried else None,
        sets=tuple(
            PromptSet(
                name=name,
                before=Figure.share(before),
                after=Measure(figure=Figure.share(data["after"][name]), bar=(bars or {}).get(name)),
            )
            for name, before in data["before"].items()
        ),
        baselines=tuple(
            BaselineRow(
                name=b.name,
                setting=b.setting,
                after=tuple(
                    NamedFigure(name=name, figure=Figure.share(s)) for name, s in b.after.items()
                ),
            )
            for b in baselines
        ),
        checks=tuple(checks),
    )


def _suspect(data: Mapping[str, Any]) -> SuspectRow:
    return SuspectRow(
        feature=FeatureName(
            dictionary=data["dictionary"], index=data["feature"], label=data["label"]
        ),
        margin=data["margin"],
        wrong=data["wrong"],
        right=data["right"],
        estimate=data["estimate"],
        repaired=data["repaired"],
        tokens=tuple(
            ActiveToken(position=place, token=text, activation=value)
            for place, text, value in data["tokens"]
        ),
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
