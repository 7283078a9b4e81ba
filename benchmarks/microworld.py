"""The rows of the microworld's table, measured on the atlas of `inscape-microworld demo`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from benchmarks.measurement import Measurement, Run
from inscape.atlas import Atlas
from inscape.storage import read_json
from inscape_microworld.benchmark import (
    PARTS,
    ROWS,
    Benchmark,
    Row,
    System,
    checks,
    run_benchmark,
    speed,
)
from inscape_microworld.demo import RECORD


@cache
def system(folder: Path) -> System:
    """What is scored: the model and the dictionaries of a demo's atlas."""
    atlas = Atlas.open(folder / "atlas")
    residual = atlas.residual
    return System(
        atlas.model,
        atlas.dictionary(residual),
        atlas.features(residual),
        atlas.transcoders(),
        atlas.feature_label,
    )


def of_atlas(name: str) -> Measurement:
    """The row `name` of the table, on the atlas of the seed."""

    def measure(run: Run) -> Row:
        return ROWS[name](system(run.folder), run.seed)

    return Measurement(measure, needs_demo=True)


@cache
def benchmark(folder: Path, seed: int) -> Benchmark:
    """The benchmark of a demo's atlas; what its parts share is made once."""
    return Benchmark.of(system(folder), seed=seed)


_WHOLE: dict[tuple[Path, int], dict[str, Row]] = {}
"""Rows of benchmarks that were run as a whole, by part; "time" is how long the whole took."""


def of_benchmark(part: str) -> Measurement:
    """A part of the benchmark, on the atlas of the seed; of the whole, where that was run."""

    def measure(run: Run) -> Row:
        done = _WHOLE.get((run.folder, run.seed))
        return done[part] if done else PARTS[part](benchmark(run.folder, run.seed))

    return Measurement(measure, needs_demo=True)


def time(run: Run) -> Row:
    """How long the whole benchmark takes, with nothing made before."""
    made = Benchmark.of(system(run.folder), seed=run.seed)
    rows = dict(zip((*PARTS, "time"), run_benchmark(made), strict=True))
    _WHOLE[run.folder, run.seed] = rows
    return rows["time"]


def gradients(run: Run) -> Row:
    """The training step against autograd."""
    return checks.gradients(seed=run.seed)


def start_up(run: Run) -> Row:
    """How long `inscape --help` takes."""
    return speed.start_up()


def demo(run: Run) -> Row:
    """What the demo says of its own time and memory."""
    return speed.demo(read_json(run.folder / RECORD))


FIGURES: Mapping[str, Measurement] = {
    **{name: of_atlas(name) for name in ROWS},
    "benchmark-time": Measurement(time, needs_demo=True),
    **{f"benchmark-{part}": of_benchmark(part) for part in PARTS if part not in ROWS},
    "gradients": Measurement(gradients),
    "help": Measurement(start_up, seeded=False),
    "demo": Measurement(demo, needs_demo=True),
}
