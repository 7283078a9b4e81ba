"""Measures the figures of docs/figures.md: `make figures`, `python -m benchmarks.figures`.

1. For each seed, run `inscape-microworld demo`, if a chosen row reads it: a finished one is
   reused, a stopped one goes on. Remove the folder to measure anew.
2. Measure row after row, each for every seed. Progress is told on standard error.
3. As soon as a row is there, print it as a line of JSON on standard output and record it.
   A row that cannot be measured on this machine (it needs a card, or data beside the checkout) is
   left out in a line, and its figures in the record stay.

Seed 0 served to settle settings, so the figures are of other seeds. The exit code is 0 whether or
not the bars are held, 2 for a mistake in what was asked.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks import (
    atlas,
    card,
    dictionaries,
    microworld,
    quality,
    realmodel,
    retraining,
    table,
    traces,
    training,
)
from benchmarks.measurement import Absent, Measured, Measurement, Run
from inscape.core import InputError, InscapeError
from inscape_microworld.benchmark import Row
from inscape_microworld.demo import RECORD

FIGURES: Mapping[str, Measurement] = {
    **microworld.FIGURES,
    **dictionaries.FIGURES,
    **retraining.FIGURES,
    **training.FIGURES,
    **card.FIGURES,
    **quality.FIGURES,
    **realmodel.FIGURES,
    **atlas.FIGURES,
    **traces.FIGURES,
}
SEEDS = (1, 2, 3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line; returns the exit code."""
    asked = _parser().parse_args(arguments)
    runs = [Run(seed, asked.out / f"seed-{seed}") for seed in dict.fromkeys(asked.seeds)]
    lines = sys.stdout
    try:
        chosen = select(asked.only)
        table.check(asked.docs)
        with redirect_stdout(sys.stderr):
            for measured in measure(chosen, runs):
                print(json.dumps(measured.to_json(), ensure_ascii=False), file=lines, flush=True)
                origin = _origin(measured)
                table.update(asked.record, asked.docs, measured, origin, list(FIGURES))
    except (InscapeError, subprocess.CalledProcessError) as error:
        print(f"figures: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("figures: stopped; rows already printed are in the table", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="figures", description="Measure rows of docs/figures.md.")
    parser.add_argument("--only", default="", metavar="PREFIX", help="rows that begin so")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED")
    parser.add_argument("--out", type=Path, default=Path("inscape-figures"), help="demos' folder")
    parser.add_argument("--docs", type=Path, default=Path("docs/figures.md"), help="summary")
    record = Path("benchmarks/record.json")
    parser.add_argument("--record", type=Path, default=record, help="the record of all figures")
    return parser


def select(prefix: str) -> dict[str, Measurement]:
    """The measurements whose name begins with `prefix`.

    Raises:
        InputError: there is none.
    """
    chosen = {name: m for name, m in FIGURES.items() if name.startswith(prefix)}
    if not chosen:
        raise InputError(
            f"no row begins with {prefix!r}", expected="the beginning of " + ", ".join(FIGURES)
        )
    return chosen


def measure(chosen: Mapping[str, Measurement], runs: Sequence[Run]) -> Iterator[Measured]:
    """The rows, each as soon as all its seeds are measured."""
    # All demos come first: a process that is started by a large one inherits its peak memory.
    if any(measurement.needs_demo for measurement in chosen.values()):
        for run in runs:
            make_demo(run)
    for name, measurement in chosen.items():
        try:
            yield Measured(name, dict(_rows(name, measurement, runs)))
        except Absent as error:
            _tell(f"{name} is left out: {error}")


def _rows(
    name: str, measurement: Measurement, runs: Sequence[Run]
) -> Iterator[tuple[int | None, Row]]:
    for run in runs if measurement.seeded else runs[:1]:
        seed = run.seed if measurement.seeded else None
        _tell(f"{name} …" if seed is None else f"{name}, seed {seed} …")
        row = measurement.measure(run)
        print(row.text(), file=sys.stderr, flush=True)
        yield seed, row


def make_demo(run: Run) -> None:
    """The run's demo, unless it is there.

    Raises:
        subprocess.CalledProcessError: the demo failed.
    """
    if (run.folder / RECORD).is_file():
        return
    _tell(f"demo, seed {run.seed} …")
    command = [sys.executable, "-m", "inscape_microworld", "demo"]
    command += ["--seed", str(run.seed), "--out", str(run.folder)]
    subprocess.run(command, stdout=sys.stderr, check=True)


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _origin(measured: Measured) -> table.Origin:
    command = f"python -m benchmarks.figures --only {measured.name}"
    if measured.seeds and tuple(measured.seeds) != SEEDS:
        command += " --seeds " + " ".join(map(str, measured.seeds))
    return table.Origin(command, datetime.date.today().isoformat(), table.machine())


if __name__ == "__main__":
    sys.exit(main())
