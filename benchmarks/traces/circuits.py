"""Circuits of indirect objects: chosen on some wordings and names, measured on others."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measurement import Measurement, Run
from benchmarks.traces import prompts, world
from inscape.circuits import Example, circuit
from inscape.model import Model
from inscape_microworld.benchmark import Check, Row

NUM_PROMPTS, MAX_MEMBERS = 80, 8
SYSTEMS: dict[
    str, tuple[Callable[[], Model], Callable[[int, int], list[Example]], float, float]
] = {
    "SmolLM2": (prompts.smollm2, prompts.as_examples, 0.7, 0.8),
    "microworld": (world.microworld, world.indirect_objects, 0.85, 0.95),
}


def indirect_objects(run: Run) -> Row:
    """Heads and MLPs in their roles; prompts that the model answers rightly on both sides."""
    checks, detail = [], {}
    for name, (opened, made, faithful, turns) in SYSTEMS.items():
        found = circuit(
            opened(),
            made(NUM_PROMPTS, run.seed),
            max_members=MAX_MEMBERS,
            seed=run.seed,
            about="indirect objects",
        )
        mean = found.faithfulness["mean"]
        checks += [
            Check(f"{name}: members", len(found.members), f"≤ {MAX_MEMBERS}"),
            Check(f"{name}: faithfulness by the mean", mean.value, f"≥ {faithful}", mean.interval),
            Check(
                f"{name}: exchanged, says the other name",
                found.named.value,
                f"≥ {turns}",
                found.named.interval,
            ),
        ]
        detail |= {
            f"{name}: members": [found.title(one) for one in found.members],
            f"{name}: held-out prompts": found.num_held,
            f"{name}: held-out wordings": len(found.held_templates),
            f"{name}: the other name leads": found.turned.value,
            f"{name}: random circuits, at most": max(one.value for one in found.controls),
            f"{name}: F(M), F(∅), F(C)": [mean.model, mean.empty, mean.circuit],
            f"{name}: completeness": mean.completeness,
            f"{name}: resampled, zero": [found.faithfulness[k].value for k in ("resample", "zero")],
            f"{name}: CPR, CMD": [found.cpr, found.cmd],
        }
    return Row(
        "trace-circuit",
        f"indirect objects by at most {MAX_MEMBERS} heads and MLPs in their roles",
        tuple(checks),
        f"{NUM_PROMPTS} prompts, half of the wordings held out",
        seed=run.seed,
        detail=detail,
    )


FIGURES = {"trace-circuit": Measurement(indirect_objects)}
