"""Time and memory of traces of SmolLM2 by its neurons, after opening."""

from __future__ import annotations

import subprocess
import sys
import time

import torch

from benchmarks.measurement import Measurement, Run
from benchmarks.traces.prompts import smollm2
from inscape.attribution import trace, trajectory
from inscape_microworld.benchmark import Check, Row

TOKENS, NODES = 20, 300
ANSWER, ANSWER_NODES = 60, 50
LONG = 4096
STORY = "Once upon a time there was a small village by the sea. The people who lived there were"
QUESTION = "Explain in a few sentences why the sky is blue."


def one_trace(run: Run) -> Row:
    """A trace of twenty tokens with 300 nodes, its edges and its verification."""
    model = smollm2()
    prompt = model.prompt(STORY).ids[:TOKENS]
    trace(model, list(prompt[:8]), max_features=20)  # what is prepared once
    start = time.perf_counter()
    graph = trace(model, list(prompt), max_features=NODES)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    trace(model, list(prompt), max_features=NODES, verified=0)
    bare = time.perf_counter() - start
    return Row(
        "trace-time",
        f"SmolLM2, neurons: one trace of {TOKENS} tokens, {NODES} nodes with all edges",
        (Check("seconds, verified by intervention", seconds, "≤ 10"),),
        f"{len(prompt)} tokens, {graph.num_edges_full:,} edges, {torch.get_num_threads()} threads",
        detail={"seconds without the verification": bare},
    )


def one_answer(run: Run) -> Row:
    """Every token of an answer."""
    model = smollm2()
    chat = [{"role": "user", "content": QUESTION}]
    row = model.generate(model.prompt(chat), ANSWER)[0].tolist()
    answer = model.decode(row[len(model.prompt(chat)) :])
    start = time.perf_counter()
    found = trajectory(model, chat, answer=answer, nodes=ANSWER_NODES)
    seconds = time.perf_counter() - start
    return Row(
        "trace-answer",
        f"SmolLM2, neurons: an answer, every token traced, {ANSWER_NODES} nodes each",
        (Check("seconds", seconds, "≤ 180"),),
        f"{len(found.steps)} tokens of answer behind {found.num_prompt} of prompt",
        detail={"nodes together": len(found.nodes)},
    )


def long_prompts(run: Run) -> Row:
    """Prompts of 4,096 tokens, each in a process of its own, whose peak memory is its own."""
    checks, detail = [], {}
    for name, code in LONG_CODE.items():
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code.format(tokens=LONG)], capture_output=True, text=True
        )
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
        peak = float(done.stdout.split()[-1]) if done.returncode == 0 else float("nan")
        checks.append(Check(f"{name}: peak memory, GB", peak, "≤ 8"))
        detail[f"{name}: seconds"] = time.perf_counter() - start
    return Row(
        "trace-long",
        f"a prompt of {LONG} tokens",
        tuple(checks),
        "one prompt each, with opening",
        detail=detail,
    )


_END = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
LONG_CODE = {
    "SmolLM2 by neurons": """
from benchmarks.traces.prompts import DATA, smollm2
from inscape.attribution import trace
import gzip, json
model = smollm2()
texts = []
with gzip.open(DATA / "corpus" / "heldout.jsonl.gz", "rt") as lines:
    while sum(map(len, texts)) < 6 * {tokens}:
        texts.append(json.loads(next(lines))["text"])
ids = list(model.prompt(" ".join(texts)).ids[:{tokens}])
assert len(ids) == {tokens}
trace(model, ids)
"""
    + _END,
    "a tiny model by transcoders": """
import torch
from tests.attribution.random_transcoders import random_transcoders
from tests.families import tiny
from inscape.attribution import trace
from inscape.model import Model
model = Model.wrap(tiny("llama", max_position_embeddings={tokens}))
ids = torch.randint(3, 60, ({tokens},), generator=torch.Generator().manual_seed(0)).tolist()
trace(model, ids, random_transcoders(model))
"""
    + _END,
}


FIGURES = {
    "trace-time": Measurement(one_trace, seeded=False),
    "trace-answer": Measurement(one_answer, seeded=False),
    "trace-long": Measurement(long_prompts, seeded=False),
}
