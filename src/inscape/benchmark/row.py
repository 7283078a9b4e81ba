"""A row of the table: what is measured, its bar, the figure, and what the figure rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One figure held against one bar. `bar` is written as it reads: "≥ 0.97"."""

    name: str
    figure: float
    bar: str
    interval: tuple[float, float] | None = None

    @property
    def passed(self) -> bool:
        """Whether the figure itself (not the end of its interval) holds the bar."""
        relation, limit = self.bar.split()
        return self.figure >= float(limit) if relation == "≥" else self.figure <= float(limit)


@dataclass(frozen=True)
class Row:
    """A named row. `detail` holds what belongs beside it (baselines, counts), without a bar."""

    name: str
    title: str
    checks: tuple[Check, ...]
    samples: str
    seed: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check holds its bar."""
        return all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "title": self.title,
            "passed": self.passed,
            "checks": [
                {**vars(c), "interval": c.interval and list(c.interval), "passed": c.passed}
                for c in self.checks
            ],
            "samples": self.samples,
            "seed": self.seed,
            "detail": dict(self.detail),
        }
