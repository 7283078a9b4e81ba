"""Do the neurons that are found carry the answer? Exchanged with a counterfactual prompt's."""

from __future__ import annotations

from benchmarks.measurement import Measurement, Run
from benchmarks.traces.prompts import Pair, capitals, indirect_objects, smollm2
from inscape.attribution import exchange
from inscape.core import Share
from inscape_microworld.benchmark import Check, Row

NUM_PAIRS, NUM_NEURONS, CONTROLS = 60, 100, 5


def exchanges(run: Run) -> Row:
    """Answers that a hundred exchanged neurons turn; random ones whose values change as much."""
    checks, detail = [], {}
    for name, made in (("capitals", capitals), ("indirect objects", indirect_objects)):
        pairs = made(NUM_PAIRS, run.seed)
        turned, random_ones, sets = 0, 0, 0
        for pair in pairs:
            found = _exchanged(pair, run.seed)
            turned += found[0]
            random_ones += found[1].count
            sets += found[1].total
        share, control = Share(turned, len(pairs)), Share(random_ones, sets)
        checks += [
            Check(f"{name}: turned by the best", share.value, "≥ 0.9", share.interval),
            Check(f"{name}: by random ones", control.value, "≤ 0.02", control.interval),
        ]
        detail[f"{name}, pairs"] = len(pairs)
    return Row(
        "trace-exchange",
        f"SmolLM2: the {NUM_NEURONS} best neurons of a counterfactual prompt turn the answer",
        tuple(checks),
        f"{NUM_PAIRS} pairs each, both prompts answered rightly, {CONTROLS} random sets a pair",
        seed=run.seed,
        detail=detail,
    )


def _exchanged(pair: Pair, seed: int) -> tuple[bool, Share]:
    found = exchange(
        smollm2(), pair.prompt, pair.other, neurons=NUM_NEURONS, controls=CONTROLS, seed=seed
    )
    return found.turned, found.controls


FIGURES = {"trace-exchange": Measurement(exchanges)}
