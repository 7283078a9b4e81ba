"""How a row is measured, and what its seeds say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inscape.core import InscapeError
from inscape.storage import plain
from inscape_microworld.benchmark import Row


class Absent(InscapeError):
    """What a row is measured with is not there: it is left out, and the others are measured."""


@dataclass(frozen=True)
class Run:
    """A seed, and the folder of its demo (made only for measurements that ask for it)."""

    seed: int
    folder: Path


@dataclass(frozen=True)
class Measurement:
    """A row to measure.

    measure: the row of one run; its checks carry their bars. It raises Absent where it cannot be
    measured here.
    needs_demo: whether it reads the finished demo of the run's seed.
    seeded: whether it depends on the seed; otherwise it is measured once.
    """

    measure: Callable[[Run], Row]
    needs_demo: bool = False
    seeded: bool = True


@dataclass(frozen=True)
class Figure:
    """One check over all seeds: the median and range; of a single row, its own interval.

    A figure that is not finite for some seed is NaN as a whole.
    """

    name: str
    bar: str
    value: float
    low: float | None
    high: float | None
    num_holding: int


@dataclass(frozen=True)
class Measured:
    """The rows of one name by seed; what does not depend on the seed has one row, of seed None."""

    name: str
    rows: Mapping[int | None, Row]

    @property
    def seeds(self) -> list[int]:
        """The seeds measured."""
        return [seed for seed in self.rows if seed is not None]

    @property
    def first(self) -> Row:
        """The first seed's row."""
        return next(iter(self.rows.values()))

    @property
    def holds(self) -> bool:
        """Whether every seed holds every bar."""
        return all(row.passed for row in self.rows.values())

    def figures(self) -> list[Figure]:
        """The checks in the order of the row."""
        found = []
        for k, named in enumerate(self.first.checks):
            checks = [row.checks[k] for row in self.rows.values()]
            values = [check.figure for check in checks]
            value = statistics.median(values) if all(map(math.isfinite, values)) else math.nan
            low_high = named.interval if len(checks) == 1 else (min(values), max(values))
            low, high = low_high if low_high and math.isfinite(value) else (None, None)
            holding = sum(check.passed for check in checks)
            found.append(Figure(named.name, named.bar, value, low, high, holding))
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values: name, bar and measured by check, holds; what is not finite is null."""
        figures = self.figures()
        measured = {
            figure.name: {
                "figure": figure.value,
                "low": figure.low,
                "high": figure.high,
                "by_seed": {seed: self.rows[seed].checks[k].figure for seed in self.seeds},
            }
            for k, figure in enumerate(figures)
        }
        found: dict[str, Any] = plain(
            {
                "name": self.name,
                "bar": {figure.name: figure.bar for figure in figures},
                "measured": measured,
                "holds": self.holds,
            }
        )
        return found
