"""Harvest of a model's middle layer, beside transformers that stops there by a hook.

Both read the same rows of token ids through the same GPT-2-shaped model with random weights, as
many rows at a time. transformers does no more than the forward pass; ours also shuffles, counts
statistics, and writes the store. They take turns, and a figure is the median over rounds.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import inscape
from benchmarks.measurement import Measurement, Run
from benchmarks.turns import ratio
from inscape.activations import harvest
from inscape.core import seeded
from inscape.model import Model
from inscape_microworld.benchmark import Check, Row

TOKENIZER = Path(inscape.__file__).parent / "microworld" / "weights" / "tokenizer.json"
LAYERS, WIDTH, CONTEXT, ROWS, BATCH = 12, 768, 128, 96, 16
ROUNDS, WARM = 5, 1


class _Stop(Exception):
    """The middle layer is reached."""


def against_transformers(run: Run) -> Row:
    """Tokens per second of ours over those of the plain forward pass."""
    generator = torch.Generator().manual_seed(seeded(run.seed, "ids") % 2**62)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        module = _module(folder, run.seed)
        model = Model.open(str(folder))
        layer = LAYERS // 2 - 1
        found: dict[str, list[float]] = {"inscape": [], "transformers": []}
        for number in range(WARM + ROUNDS):
            ids = torch.randint(2, 1000, (ROWS, CONTEXT - 1), generator=generator)
            ids = torch.cat([torch.full((ROWS, 1), model.bos_id or 0), ids], 1)
            out = Path(place) / f"store-{number}"
            began = time.perf_counter()
            harvest(
                model,
                ids[:, 1:].tolist(),
                [f"resid_post.{layer}"],
                out,
                context=CONTEXT,
                batch_tokens=BATCH * CONTEXT,
            )
            ended = time.perf_counter()
            _plain(module, ids, layer)
            if number >= WARM:
                found["inscape"].append(ended - began)
                found["transformers"].append(time.perf_counter() - ended)
            shutil.rmtree(out)
    ours, theirs = (np.array(found[name]) for name in ("inscape", "transformers"))
    figure, interval = ratio(theirs, ours, run.seed)
    tokens = ROWS * CONTEXT
    return Row(
        "harvest-gpt2",
        "harvest to the middle layer of a GPT-2-shaped model, tokens per second",
        (
            Check("inscape / transformers with early stop", figure, "≥ 0.95", interval),
            Check("inscape, tokens per second", tokens / float(np.median(ours)), ""),
        ),
        samples=f"{LAYERS} layers, width {WIDTH}, {ROWS} rows of {CONTEXT} tokens, {BATCH} at a "
        f"time; {ROUNDS} rounds after {WARM}; {torch.get_num_threads()} threads",
        seed=run.seed,
    )


def _module(folder: Path, seed: int) -> Any:
    """The model, saved in a folder with a tokenizer, which nothing here asks for words."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER))
    module = gpt2(WIDTH, layers=LAYERS, seed=seed)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return module


def gpt2(width: int, *, layers: int, seed: int) -> Any:
    """A model of GPT-2's shape with random weights, that reads CONTEXT tokens."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=layers,
        n_embd=width,
        n_head=max(1, width // 64),
        n_positions=CONTEXT,
        vocab_size=8192,
        bos_token_id=0,
        eos_token_id=1,
    )
    return GPT2LMHeadModel(config).eval()


@torch.inference_mode()
def _plain(module: Any, ids: torch.Tensor, layer: int) -> None:
    """The forward pass up to the end of a layer, batch after batch."""

    def stop(*given: Any) -> None:
        raise _Stop

    hook = module.transformer.h[layer].register_forward_hook(stop)
    for start in range(0, len(ids), BATCH):
        try:
            module(input_ids=ids[start : start + BATCH], use_cache=False)
        except _Stop:
            continue
    hook.remove()


FIGURES: Mapping[str, Measurement] = {"harvest-gpt2": Measurement(against_transformers)}
