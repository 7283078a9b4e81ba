"""The demo, after set-up: how long it takes, and what it finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.atlas.search import VARIABLE
from benchmarks.measurement import Absent, Measurement, Run
from inscape.report.demo import SHIPPED
from inscape_microworld.benchmark import Check, Row


def demo(run: Run) -> Row:
    """Seconds of `inscape demo` on the atlas of the repository, or on the one that the environment
    names."""
    place = Path(os.environ.get(VARIABLE, SHIPPED))
    if not (place / "atlas.json").is_file():
        raise Absent(f"there is no atlas at {place}, and {VARIABLE} names none")
    command = [sys.executable, "-m", "inscape", "demo", "--json"]
    command += ["--atlas", str(place), "--out", str(run.folder / "demo")]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seconds = time.monotonic() - began
    found = json.loads(done.stdout)
    first = found["prompts"][0]
    said = first["answers"][0][0]
    removed = {
        one["id"]: (one["label"], one["removed"]["answers"][0])
        for one in first["concepts"]
        if one["removed"] is not None and one["removed"]["answers"][0][0] != said
    }
    return Row(
        "atlas-demo",
        "inscape demo, after set-up",
        (
            Check("seconds", seconds, "≤ 120"),
            Check("single features without which it says Spain", _spain(removed), "≥ 1"),
        ),
        f"one run, of {place.name}",
        detail={"the model says": said, "without": removed, "topics": found["searches"]},
    )


def _spain(removed: dict[str, tuple[str, list[object]]]) -> int:
    return sum(answer[0] == " Spain" for _, answer in removed.values())


FIGURES = {"atlas-demo": Measurement(demo, seeded=False)}
