"""The table of docs/figures.md: what stands between its two markers is written, the rest kept.

1. A measured row brings a line for each check, and one that says what it was measured on.
2. They take the place of the lines of that row; the lines of other rows stay as they are.
3. Rows stand in the order of the measurements; rows that are no measurement any more come last.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measurement import Figure, Measured
from inscape.core import InputError
from inscape.storage import atomic_write

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
HEAD = (
    "| row: check | bar | measured | holds | command | seeds | date | machine |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Origin:
    """How, when and where a row was measured."""

    command: str
    date: str
    machine: str


def machine() -> str:
    """Cores, instructions, GPU, torch and precision of this process; no names."""
    instructions = torch.backends.cpu.get_cpu_capability().replace("AVX512", "AVX-512")
    device = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    precision = str(torch.get_default_dtype()).removeprefix("torch.")
    num_cores = len(os.sched_getaffinity(0))
    cores = f"{num_cores} core{'s' * (num_cores > 1)}"
    return ", ".join([cores, instructions, *device, f"torch {torch.__version__}", precision])


def check(path: Path) -> None:
    """Refuses a file that has no place for the table.

    Raises:
        InputError: `path` lacks the two markers.
    """
    if path.exists():
        _parts(path)


def update(path: Path, measured: Measured, origin: Origin, order: Sequence[str]) -> None:
    """Put the lines of one measured row into the table of `path`; without a file, make one.

    Raises:
        InputError: `path` lacks the two markers.
    """
    before, block, after = _parts(path) if path.exists() else ("", "", "\n")
    old = [line for line in block.splitlines() if line not in HEAD]
    kept = [line for line in old if ":" in line and _row(line) != measured.name]
    rows = [line for line in kept if line.startswith("| ")] + _lines(measured, origin)
    samples = [line for line in kept if line.startswith("- ")] + [_samples(measured)]
    place = {name: k for k, name in enumerate(order)}
    for lines in (rows, samples):
        lines.sort(key=lambda line: place.get(_row(line), len(place)))
    table = "\n".join([*HEAD, *rows, "", "Measured on:", "", *samples])
    atomic_write(path, f"{before}{BEGIN}\n{table}\n{END}{after}".encode())


def _parts(path: Path) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    block, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(
            f"{path} has no place for the table",
            expected=f"a line {BEGIN} and after it a line {END}",
        )
    return before, block, after


def _row(line: str) -> str:
    return line[2:].partition(":")[0]


def _lines(measured: Measured, origin: Origin) -> list[str]:
    seeds = ", ".join(map(str, measured.seeds)) or "–"
    last = (f"`{origin.command}`", seeds, origin.date, origin.machine)
    return [
        _cells(
            f"{measured.name}: {f.name}",
            f.bar or "–",
            _figure(f, len(measured.rows)),
            _verdict(f, len(measured.rows)),
            *last,
        )
        for f in measured.figures()
    ]


def _figure(figure: Figure, num_rows: int) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4g}"
    seeds = f" over {num_rows} seeds" if num_rows > 1 else ""
    return f"{figure.value:.4g} ({figure.low:.4g} to {figure.high:.4g}{seeds})"


def _verdict(figure: Figure, num_rows: int) -> str:
    if not figure.bar:
        return "reported"
    if figure.num_holding == num_rows:
        return "holds"
    return "**short**" + (f", {figure.num_holding} of {num_rows} hold" if num_rows > 1 else "")


def _samples(measured: Measured) -> str:
    differ = len({row.samples for row in measured.rows.values()}) > 1
    seed = f" (seed {measured.seeds[0]})" if differ else ""
    return f"- {measured.name}: {measured.first.title}; {measured.first.samples}{seed}"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
