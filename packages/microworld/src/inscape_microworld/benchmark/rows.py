"""All rows by name, and running them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from inscape.core import InputError
from inscape_microworld.benchmark import (
    checks,
    deception,
    faults,
    fidelity,
    selectivity,
    speed,
    steering,
)
from inscape_microworld.benchmark.row import Row
from inscape_microworld.benchmark.system import System

ROWS: Mapping[str, Callable[[System, int], Row]] = {
    "edges": lambda system, seed: checks.edges(system, seed=seed),
    "gradients": lambda system, seed: checks.gradients(seed=seed),
    "dictionary": lambda system, seed: fidelity.dictionary(system, seed=seed),
    "selectivity": lambda system, seed: selectivity.selectivity(system, seed=seed),
    "unagi": lambda system, seed: faults.row(faults.study(system, seed=seed), seed=seed),
    "deception": lambda system, seed: deception.row(deception.study(system, seed=seed), seed),
    "bridge": lambda system, seed: steering.row(steering.study(system, seed=seed), system, seed),
    "help": lambda system, seed: speed.start_up(),
}


def run_rows(
    system: System,
    names: Sequence[str] = (),
    *,
    seed: int = 0,
    demo: Mapping[str, Any] | None = None,
) -> Iterator[Row]:
    """The rows called `names` (all without any); `demo` is a finished demo's record.

    Raises:
        InputError: there is no row of that name.
    """
    known = [*ROWS, *(["demo"] if demo is not None else [])]
    for name in names:
        if name not in known:
            raise InputError(f"unknown row {name!r}", expected="one of " + ", ".join(known))
    for name in names or known:
        if name == "demo" and demo is not None:
            yield speed.demo(demo)
        else:
            yield ROWS[name](system, seed)
