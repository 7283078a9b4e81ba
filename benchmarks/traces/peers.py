"""Time and memory of graphs beside circuit-tracer's, on the same weights.

1. A GPT-2-shaped model and top-k transcoders of random weights are written to a folder.
2. Each side reads them in a process of its own and traces one prompt, with its pruning: inscape in
   this environment, circuit-tracer (0.5.0) in the one whose Python INSCAPE_PEER_PYTHON names.
3. Time is that of the trace; memory what the process takes above model and transcoders at its peak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.measurement import Absent, Measurement, Run
from inscape_microworld.benchmark import Check, Row

VARIABLE = "INSCAPE_PEER_PYTHON"


@dataclass(frozen=True)
class Shape:
    """Of the model, its transcoders and the prompt; `budget` of features, None for all."""

    layers: int
    d_model: int
    heads: int
    vocabulary: int
    features: int
    active: int
    tokens: tuple[int, ...]
    budget: int | None


LARGE = Shape(12, 768, 12, 50257, 24576, 32, (64,), 2000)
SMALL = Shape(4, 128, 4, 4096, 2048, 16, (128, 256), None)


def write(shape: Shape, folder: Path, seed: int) -> None:
    """Model, transcoders and tokens."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=512,
        n_embd=shape.d_model,
        n_layer=shape.layers,
        n_head=shape.heads,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder / "model")
    for layer in range(shape.layers):
        size = shape.features, shape.d_model
        save_file(
            {
                "W_enc": torch.randn(size) / shape.d_model**0.5,
                "b_enc": torch.zeros(shape.features),
                "W_dec": 0.02 * torch.randn(size),
                "b_dec": torch.zeros(shape.d_model),
            },
            folder / f"transcoder-{layer}.safetensors",
        )
    ids = torch.randint(1, shape.vocabulary, (max(shape.tokens),)).tolist()
    (folder / "shape.json").write_text(json.dumps({**asdict(shape), "ids": ids}))


def measured(python: str, module: str, folder: Path, tokens: int) -> dict[str, float]:
    """What a side prints: seconds, gigabytes, nodes."""
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join(sys.path) if python == sys.executable else ""
    done = subprocess.run(
        [python, str(root / "benchmarks" / "sides" / f"{module}.py"), str(folder), str(tokens)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        cwd=root,
    )
    if done.returncode:
        raise Absent(f"{module} fails: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _beside(name: str, title: str, shape: Shape, share: float, most: float, run: Run) -> Row:
    peer = os.environ.get(VARIABLE)
    if not peer:
        raise Absent(f"{VARIABLE} names no Python with circuit-tracer")
    folder = run.folder
    folder.mkdir(parents=True, exist_ok=True)
    write(shape, folder, run.seed)
    checks, detail = [], {}
    for tokens in shape.tokens:
        own = measured(sys.executable, "own", folder, tokens)
        their = measured(peer, "circuit_tracer_side", folder, tokens)
        checks += [
            Check(
                f"{tokens} tokens: time, of its", own["seconds"] / their["seconds"], f"≤ {share}"
            ),
            Check(f"{tokens} tokens: GB above model and dictionaries", own["gb"], f"≤ {most}"),
        ]
        detail |= {f"{tokens} tokens: inscape": own, f"{tokens} tokens: circuit-tracer": their}
    samples = f"{shape.layers} layers, d {shape.d_model}, {shape.features:,} features a layer"
    return Row(name, title, tuple(checks), samples, seed=run.seed, detail=detail)


def large(run: Run) -> Row:
    """With a budget of features."""
    title = "one 64-token prompt with a budget of 2,000 features, beside circuit-tracer"
    return _beside("trace-beside", title, LARGE, 0.5, 1.0, run)


def small(run: Run) -> Row:
    """Every active feature."""
    title = "all active features of a small model, beside circuit-tracer"
    return _beside("trace-beside-whole", title, SMALL, 0.25, 1.5, run)


FIGURES = {
    "trace-beside": Measurement(large, seeded=False),
    "trace-beside-whole": Measurement(small, seeded=False),
}
