"""Rows of time and memory. Ratios are measured side by side; a demo's own figures are read."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from inscape_microworld.benchmark.row import Check, Row

CPU_CORES_OF_THE_BAR = 2


def start_up(*, pairs: int = 9) -> Row:
    """`inscape --help` against importing typer alone, in turn, after one warm-up of each."""
    tool = [sys.executable, "-m", "inscape", "--help"]
    plain = [sys.executable, "-c", "import typer"]
    _seconds(tool), _seconds(plain)
    times = [(_seconds(tool), _seconds(plain)) for _ in range(pairs)]
    ratios = sorted(a / b for a, b in times)
    return Row(
        "help",
        '`inscape --help` against `python -c "import typer"`',
        (Check("median ratio", statistics.median(ratios), "≤ 3", (ratios[0], ratios[-1])),),
        samples=f"{pairs} pairs, in turn; the interval is the range",
        detail={"median seconds": statistics.median(a for a, _ in times)},
    )


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def demo(run: Mapping[str, Any]) -> Row:
    """A finished demo's own record: seconds by step, peak resident memory."""
    seconds: Mapping[str, float] = run["seconds"]
    return Row(
        "demo",
        "the whole chain on the microworld",
        (
            Check("minutes", sum(seconds.values()) / 60, "≤ 5"),
            Check("peak memory (GB)", float(run["peak_memory_gb"]), "≤ 4"),
        ),
        samples=f"one run on {run['cores']} cores",
        detail={name: round(value, 1) for name, value in seconds.items()},
    )
