"""`python -m benchmarks.realmodel [NAME ...]`: prints the rows, or those whose name begins so."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measurement import Absent, Run
from benchmarks.realmodel import FIGURES


def main() -> int:
    parser = argparse.ArgumentParser(prog="realmodel", description="Print figures on real models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows: " + ", ".join(FIGURES))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chosen = [n for n in FIGURES if not asked.names or n.startswith(tuple(asked.names))]
    if not chosen:
        print(f"no row begins with {asked.names}; there are {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            try:
                print(
                    FIGURES[name].measure(Run(asked.seed, Path(folder) / name)).text(), flush=True
                )
            except Absent as error:
                print(f"{name} is left out: {error}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
