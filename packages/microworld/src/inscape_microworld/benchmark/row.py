"""A row of the table: what is measured, its bar, the figure, and what the figure rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One figure held against one bar, written as it reads: "≥ 0.97"; "" is reported only."""

    name: str
    figure: float
    bar: str
    interval: tuple[float, float] | None = None

    @property
    def passed(self) -> bool:
        """Whether the figure itself (not the end of its interval) holds the bar, if it has one."""
        if not self.bar:
            return True
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

    def text(self) -> str:
        """The row for a terminal: a line a check, then what belongs beside it."""
        lines = [f"{self.name}: {self.title}"]
        for check in self.checks:
            low_high = ""
            if check.interval is not None:
                low_high = f" ({check.interval[0]:.4g} to {check.interval[1]:.4g})"
            verdict = ("holds" if check.passed else "SHORT") if check.bar else ""
            bar = f"  [{check.bar}]" if check.bar else ""
            lines.append(f"  {verdict:5}  {check.name}: {check.figure:.4g}{low_high}{bar}")
        lines.append(
            f"         on {self.samples}" + f"; seed {self.seed}" * (self.seed is not None)
        )
        lines += [f"         {name}: {_short(value)}" for name, value in self.detail.items()]
        return "\n".join(lines)

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


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        if set(value) >= {"share", "count", "total"}:
            if not value["total"]:
                return "none"
            return f"{value['share']:.3f} ({value['count']}/{value['total']})"
        return ", ".join(f"{name} {_short(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_short(entry) for entry in value)
    return str(value)
