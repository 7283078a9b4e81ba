"""A planted fault diagnosed: found on one half of its triggers, judged on the other.

The diagnosis is told the prompts and the right answers; not the wrong answer, no twin, and not
which concept is responsible.
"""

from __future__ import annotations

from dataclasses import dataclass

from inscape.core import Share
from inscape.diagnosis import Diagnosis, diagnose, shares
from inscape_microworld.benchmark.plain_methods import Baseline, baselines
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.sets import cases
from inscape_microworld.benchmark.system import System
from inscape_microworld.faults import fault

HELD_OUT, RIVALS, OTHERS = "held-out failures", "wrong answer is right", "other prompts"
KEPT = {HELD_OUT: "held-out repaired", RIVALS: "rivals kept", OTHERS: "others kept"}


@dataclass(frozen=True)
class FaultStudy:
    """A diagnosis with its baselines."""

    diagnosis: Diagnosis
    baselines: tuple[Baseline, ...]
    twins: Share


def study(system: System, name: str = "unagi", *, seed: int = 0, plain: bool = True) -> FaultStudy:
    """Diagnose the fault `name`; `plain` also runs the three baselines."""
    planted = fault(name)
    judged = {
        HELD_OUT: cases(planted.held_out),
        RIVALS: cases(planted.rivals_held_out),
        OTHERS: cases(planted.others_held_out),
    }
    diagnosis = diagnose(
        system.model,
        system.dictionaries,
        cases(planted.selection),
        controls=cases((*planted.rivals_selection, *planted.others_selection[::3])),
        judged_on=judged,
        labels=system.label,
        seed=seed,
    )
    found: list[Baseline] = []
    if plain:
        found = baselines(
            system.model, system.site, system.residual.b_dec, cases(planted.selection), judged
        )
    twins = shares_of_twins(system, name)
    return FaultStudy(diagnosis, tuple(found), twins)


def shares_of_twins(system: System, name: str) -> Share:
    """How often the unmodified model is right on the minimal twins (not used by the diagnosis)."""
    planted = fault(name)
    twins = cases(p.twin for p in (*planted.selection, *planted.held_out))
    return shares(system.model, {"twins": twins})["twins"]


def row(found: FaultStudy, name: str = "unagi", seed: int = 0) -> Row:
    """The row of a study; other prompts and the baselines are reported without a bar."""
    diagnosis = found.diagnosis
    repaired, rivals = diagnosis.after[HELD_OUT], diagnosis.after[RIVALS]
    others, control = diagnosis.after[OTHERS], diagnosis.random
    return Row(
        name,
        "responsible features removed; found without the wrong answer and without a twin",
        (
            Check("held-out prompts answered rightly", repaired.value, "≥ 0.85", repaired.interval),
            Check("by matched random sets", control.value or 0.0, "≤ 0.05", control.interval),
            Check("prompts on which the rival is right", rivals.value, "≥ 0.95", rivals.interval),
            Check("other prompts", others.value, "", others.interval),
            *(
                Check(f"{b.name}, {KEPT[k]}", share.value, "", share.interval)
                for b in found.baselines
                for k, share in b.after.items()
            ),
        ),
        samples=f"{diagnosis.before[HELD_OUT].total} held-out prompts, "
        f"{diagnosis.before[RIVALS].total} rival prompts, {diagnosis.before[OTHERS].total} others; "
        f"found on {diagnosis.num_failures} failures of {diagnosis.num_prompts}",
        seed=seed,
        detail={
            "verdict": diagnosis.mechanism,
            "wrong answer seen": diagnosis.wrong,
            "features": [f"{s.name} [{s.label}]" for s in diagnosis.removed],
            "behind by (logits)": diagnosis.lead,
            "before": {k: s.to_json() for k, s in diagnosis.before.items()},
            "after": {k: s.to_json() for k, s in diagnosis.after.items()},
            "twins right": found.twins.to_json(),
            "baselines": {b.name: b.setting for b in found.baselines},
        },
    )
