"""What a user does first: one diagnosis, the tutorial, the two commands of the README."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

from benchmarks.measurement import Absent, Measurement, Run
from inscape_microworld.benchmark import Check, Row

ROOT = Path(__file__).resolve().parents[2]
SAE = ROOT.parent / "shared" / "data" / "smollm2-sae"
PAELLA = "<|endoftext|>Paella is a dish from the country of"


def diagnosing(run: Run) -> Row:
    """Seconds to diagnose one prompt of SmolLM2 with one imported dictionary, once it is open."""
    from inscape import Case, Dictionary, Model, diagnose

    if not SAE.is_dir():
        raise Absent("the dictionary ../shared/data/smollm2-sae is not there")
    model, sae = Model.open("smollm2"), Dictionary.open(SAE)
    began = time.monotonic()
    found = diagnose(model, [sae], [Case(PAELLA, " Spain", " Italy")], seed=run.seed)
    seconds = time.monotonic() - began
    print(found.summary(), file=sys.stderr)
    return Row(
        "real-diagnose",
        "one prompt diagnosed with one dictionary, after opening",
        (Check("seconds", seconds, "≤ 15"),),
        f"{PAELLA!r}, 9,216 features of resid_post.14, 100 random sets",
        detail={"features of the repair": len(found.removed), "verdict": found.mechanism},
    )


def notebook(run: Run) -> Row:
    """Cells of docs/tutorial.ipynb that end in an error."""
    sys.path.insert(0, str(ROOT / "docs"))
    import notebook as page

    scope: dict[str, object] = {}
    cells = page.cells((ROOT / "docs" / "tutorial.md").read_text())
    code = [text for kind, text in cells if kind == "code"]
    failed, began = 0, time.monotonic()
    for cell in code:
        try:
            exec(compile(cell, "tutorial", "exec"), scope)
        except Exception:
            traceback.print_exc()
            failed += 1
    return Row(
        "real-notebook",
        "cells of the tutorial that end in an error",
        (Check("failed", failed, "≤ 0"),),
        f"{len(code)} cells",
        detail={"seconds": time.monotonic() - began},
    )


def commands(run: Run) -> Row:
    """Minutes of `make demo` and then of `make test` in a fresh clone, set-up included."""
    clone = run.folder / "clone"
    run.folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    (run.folder / "shared").symlink_to(ROOT.parent / "shared")
    minutes, codes = {}, {}
    for target in ("demo", "test"):
        began = time.monotonic()
        done = subprocess.run(["make", target], cwd=clone, stdout=sys.stderr)
        minutes[target], codes[target] = (time.monotonic() - began) / 60, done.returncode
    shutil.rmtree(clone)
    return Row(
        "real-commands",
        "the README's two commands in a fresh clone",
        (
            Check("minutes of make demo, set-up included", minutes["demo"], "≤ 8"),
            Check("minutes of make test after it", minutes["test"], "≤ 20"),
            Check("exit codes that are not 0", sum(map(bool, codes.values())), "≤ 0"),
        ),
        "one run each",
    )


FIGURES = {
    "real-diagnose": Measurement(diagnosing, seeded=False),
    "real-notebook": Measurement(notebook, seeded=False),
    "real-commands": Measurement(commands, seeded=False),
}
