"""A row on random command lines (`benchmarks.fuzz`)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.fuzz import KINDS
from benchmarks.measurement import Absent, Measurement, Run
from inscape_microworld.benchmark import Check, Row

ROOT = Path(__file__).resolve().parents[2]
LINES = 2000


def lines(run: Run) -> Row:
    """What 2,000 seeded random command lines over every verb lose, and how they end."""
    command = [sys.executable, "-m", "benchmarks.fuzz", "--lines", str(LINES)]
    command += ["--seed", str(run.seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    counts = {what: re.search(rf"{what} (\d+)", done.stdout) for what in KINDS.values()}
    if None in counts.values():
        raise Absent(f"the lines did not run: {' '.join(done.stderr.split())[-300:]}")
    checks = [Check(what, float(n[1]), "≤ 0") for what, n in counts.items() if n is not None]
    failed = [line for line in done.stdout.splitlines() if re.match(r"\d+: ", line)]
    return Row(
        "real-lines",
        "random command lines over every verb, on damaged files and a user's own",
        tuple(checks),
        f"{LINES} lines",
        run.seed,
        {"failed": failed[:20]} if failed else {},
    )


FIGURES = {"real-lines": Measurement(lines)}
