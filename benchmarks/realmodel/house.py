"""Rows about the repository itself: how long the toolkit is, and that its rooms hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measurement import Measurement, Run
from inscape_microworld.benchmark import Check, Row

ROOT = Path(__file__).resolve().parents[2]


def source(run: Run) -> Row:
    """Lines of the toolkit without the microworld, and broken import contracts."""
    files = sorted((ROOT / "src").rglob("*.py"))
    lines = sum(path.read_text().count("\n") for path in files)
    contracts = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return Row(
        "real-source",
        "source of the toolkit without the microworld; import contracts",
        (
            Check("lines", lines, "≤ 27000"),
            Check("lint-imports ends with an error", float(contracts.returncode != 0), "≤ 0"),
        ),
        f"{len(files)} files of src/",
    )


FIGURES = {"real-source": Measurement(source, seeded=False)}
