"""What the packages of rows share: collecting the rows of their modules, and printing some."""

from __future__ import annotations

import argparse
import pkgutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path

from benchmarks.measurement import Absent, Measurement, Run


def collected(package: str, path: Iterable[str]) -> dict[str, Measurement]:
    """The `FIGURES` of every module of a package."""
    return {
        name: measurement
        for module in sorted(info.name for info in pkgutil.iter_modules(path))
        if module != "__main__"
        for name, measurement in import_module(f"{package}.{module}").FIGURES.items()
    }


def main(prog: str, figures: Mapping[str, Measurement]) -> int:
    """Prints the rows, or those whose name begins as asked; returns the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description="Print figures, row by row.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows: " + ", ".join(figures))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chosen = [n for n in figures if not asked.names or n.startswith(tuple(asked.names))]
    if not chosen:
        print(f"no row begins with {asked.names}; there are {', '.join(figures)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            try:
                row = figures[name].measure(Run(asked.seed, Path(folder) / name))
                print(row.text(), flush=True)
            except Absent as error:
                print(f"{name} is left out: {error}", flush=True)
    return 0
