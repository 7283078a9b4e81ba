"""Published formats: how far our codes are from the documented formulas."""

from __future__ import annotations

from benchmarks import imports as fixtures
from benchmarks.measurement import Measurement, Run
from inscape_microworld.benchmark import Check, Row


def imports(run: Run) -> Row:
    """The largest difference of codes of each format, over its fixtures; all are printed."""
    found = fixtures.imports()
    by_form: dict[str, float] = {}
    for case in fixtures.CASES:
        code, _ = found[case.name]
        by_form[case.form] = max(code, by_form.get(case.form, 0.0))
        print(f"  {case.name:<44} codes {code:.1e}, outputs {found[case.name][1]:.1e}")
    return Row(
        "real-imports",
        "published formats made from the documented formulas: largest difference of codes",
        tuple(Check(form, worst, "≤ 1e-05") for form, worst in by_form.items()),
        f"{len(found)} fixtures, 50 tokens each",
    )


FIGURES = {"real-imports": Measurement(imports, seeded=False)}
