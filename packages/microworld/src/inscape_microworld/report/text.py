"""The report for a terminal: the same figures, in plain lines."""

from __future__ import annotations

from collections.abc import Iterator

from inscape.report.numbers import show
from inscape_microworld.report.figures import Check, Figure, Measure, show_bar
from inscape_microworld.report.schema import Concept, DiagnosisView, Report, SteeringStudy, Trace

WIDTH = 78


def report_text(report: Report) -> str:
    """The report in plain text, most of it one line a figure."""
    lines = [report.header.title, report.header.summary]
    spent = sum(step.seconds for step in report.header.steps)
    lines.append(
        f"{report.header.num_parameters:,} parameters; {report.header.num_tokens:,} tokens; "
        f"{spent:.0f} s ({', '.join(f'{s.name} {s.seconds:.0f}' for s in report.header.steps)}); "
        f"{report.header.hardware}"
    )
    lines += _head("Named features")
    for concept in report.concepts:
        lines += _concept(concept)
    for trace in report.traces:
        lines += _trace(trace)
    for diagnosis in report.diagnoses:
        lines += _diagnosis(diagnosis)
    for study in report.steering:
        lines += _steering(study)
    lines += _head("Figures against their bars")
    lines += [_check(check) for check in report.validation]
    return "\n".join(lines)


def _head(title: str) -> list[str]:
    return ["", f"{title} {'─' * max(0, WIDTH - len(title) - 1)}"]


def _concept(concept: Concept) -> Iterator[str]:
    figures = ", ".join(
        f"{name} {show(measure.figure.value)}"
        for name, measure in (("AUROC", concept.auroc), ("F1", concept.f1))
        if measure is not None
    )
    label = concept.feature.label or "no label"
    yield f"{concept.title}: {concept.feature.name} [{label}]  {figures}"
    if concept.examples:
        example = concept.examples[0]
        top = max(example.values, default=0.0)
        words = (
            f"«{token}»" if value > 0.5 * top > 0 else token
            for token, value in zip(example.tokens, example.values, strict=True)
        )
        yield f"    {''.join(words).strip()}"


def _trace(trace: Trace) -> Iterator[str]:
    yield from _head(f"Trace: {trace.title}")
    picture = trace.picture
    yield f"{picture.prompt} → {picture.target}"
    yield (
        f"replacement {show(picture.replacement)}, completeness {show(picture.completeness)}, "
        f"{picture.num_nodes} nodes"
    )
    for path in picture.paths[:3]:
        yield f"    {show(path.strength)}: {' → '.join(path.nodes)}"


def _diagnosis(view: DiagnosisView) -> Iterator[str]:
    yield from _head(f"Diagnosis: {view.title}")
    yield view.diagnosis.summary()
    for baseline in view.baselines:
        shares = ", ".join(f"{name} {share}" for name, share in baseline.after.items())
        yield f"    beside it, {baseline.name}: {shares}"


def _steering(study: SteeringStudy) -> Iterator[str]:
    yield from _head(study.title)
    yield study.measure
    for prompts in study.sets:
        yield f"    {prompts.name}: {_figure(prompts.before)} → {_figure(prompts.after)}"
    for outcome in study.outcomes:
        yield f"    {_check(outcome)}"
    for sample in study.samples[:2]:
        yield f"    {sample.prompt} | plain:{sample.plain} | steered:{sample.steered}"


def _figure(found: Figure | Measure) -> str:
    figure = found.figure if isinstance(found, Measure) else found
    told = show(figure.value, figure.unit)
    if figure.low is None or figure.high is None:
        return told
    return f"{told} ({show(figure.low, figure.unit)} to {show(figure.high, figure.unit)})"


def _check(check: Check) -> str:
    if check.bar is None:
        return f"{check.name}: {_figure(check.figure)}"
    verdict = {True: "holds", False: "SHORT", None: "not measured"}[check.passed]
    bar = show_bar(check.bar, check.figure.unit)
    return f"{verdict:>5}  {check.name}: {_figure(check.figure)}  (bar {bar})"
