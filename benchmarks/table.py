"""The record of figures, benchmarks/record.json, and its summary in docs/figures.md.

1. A measured row takes the place of the former row of that name in the record; others stay.
2. Rows stand in the order of the measurements; rows that are no measurement any more come last.
3. The summary, between its two markers, is written from the record: a line a row, with the checks
   that have a threshold. Figures without one (baselines, counts) are in the record alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement import Figure, Measured
from inscape.core import InputError
from inscape.storage import atomic_write, plain, read_json, write_json

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
HEAD = ("| row | about | figures | holds |", "|---|---|---|---|")
Record = Mapping[str, Any]


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
    num_cores = torch.get_num_threads()
    cores = f"{num_cores} core{'s' * (num_cores > 1)}"
    return ", ".join([cores, instructions, *device, f"torch {torch.__version__}", precision])


def check(docs: Path) -> None:
    """Refuses a file that has no place for the summary.

    Raises:
        InputError: `docs` lacks the two markers.
    """
    if docs.exists():
        _parts(docs)


def update(
    record: Path, docs: Path, measured: Measured, origin: Origin, order: Sequence[str]
) -> None:
    """Put one measured row into the record, and write the summary again.

    Raises:
        InputError: `docs` lacks the two markers.
        StorageError: the record is unreadable.
    """
    rows = {row["name"]: row for row in (read_json(record) if record.exists() else [])}
    rows[measured.name] = plain(_row(measured, origin))
    place = {name: k for k, name in enumerate(order)}
    ordered = sorted(rows.values(), key=lambda row: place.get(row["name"], len(place)))
    write_json(record, ordered)
    summarise(docs, ordered)


def summarise(docs: Path, rows: Sequence[Record]) -> None:
    """Write the summary of `rows` between the markers of `docs`; without a file, make one."""
    before, _, after = _parts(docs) if docs.exists() else ("", "", "\n")
    table = "\n".join([*HEAD, *map(_line, rows)])
    atomic_write(docs, f"{before}{BEGIN}\n{table}\n{END}{after}".encode())


def _row(measured: Measured, origin: Origin) -> dict[str, Any]:
    first = measured.first
    return {
        "name": measured.name,
        "title": first.title,
        "samples": first.samples,
        "seeds": measured.seeds,
        **vars(origin),
        "checks": [_check(figure, len(measured.rows)) for figure in measured.figures()],
        "detail": dict(first.detail),
    }


def _check(figure: Figure, num_rows: int) -> dict[str, Any]:
    return {**vars(figure), "num_rows": num_rows}


def _line(row: Record) -> str:
    checks = [check for check in row["checks"] if check["bar"]]
    figures = "; ".join(f"{c['name']} {_figure(c)} [{c['bar']}]" for c in checks)
    short = [check for check in checks if check["num_holding"] < check["num_rows"]]
    verdict = ("**short**" if short else "holds") if checks else "reported"
    if short and max(check["num_holding"] for check in short) > 0:
        verdict += " on some seeds"
    cells = (row["name"], row["title"], figures or "no threshold: see the record", verdict)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _figure(check: Record) -> str:
    if check["value"] is None or math.isnan(check["value"]):
        return "not finite"
    if check["low"] is None or check["low"] == check["high"]:
        return f"{check['value']:.4g}"
    return f"{check['value']:.4g} ({check['low']:.4g} to {check['high']:.4g})"


def _parts(path: Path) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    block, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(
            f"{path} has no place for the summary",
            expected=f"a line {BEGIN} and after it a line {END}",
        )
    return before, block, after
