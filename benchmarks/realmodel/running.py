"""SmolLM2 opened and run: its answers, its speed under edits, and how long opening takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measurement import Absent, Measurement, Run
from inscape.core import ModelError
from inscape.exchange import Dictionary
from inscape.intervention import FeatureEdit, edits
from inscape.model import Model
from inscape_microworld.benchmark import Check, Row

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
NUM_PROMPTS, NEW_TOKENS = 50, 24
STEERED_TOKENS, TRIALS = 200, 3


def answers(run: Run) -> Row:
    """Greedy answers of Model.generate beside transformers' own, plain prompts and chats."""
    model = _smollm2()
    equal = [_same(model, _ids(model, text, chat)) for text, chat in _prompts()]
    plain, chat = sum(equal[:NUM_PROMPTS]), sum(equal[NUM_PROMPTS:])
    return Row(
        "real-answers",
        "greedy answers of Model.generate equal to those of transformers' generate",
        (
            Check("of 50 plain prompts", plain, f"≥ {NUM_PROMPTS}"),
            Check("of 50 chats", chat, f"≥ {NUM_PROMPTS}"),
        ),
        f"SmolLM2-135M-Instruct, up to {NEW_TOKENS} tokens each, facts of evals/factual",
    )


def steering(run: Run) -> Row:
    """Tokens per second under an edit, against plain generation with the cache, in turns."""
    model, dictionary = _smollm2(), _dictionary()
    model.end_ids = []  # so that both write all of their tokens
    ids = torch.tensor([model.tokenizer.encode("My name is", add_special_tokens=False)])
    hooks = edits(model, [FeatureEdit(dictionary, 100, "clamp", 1.0, unit=20.0)])

    def plain() -> torch.Tensor:
        return model.generate(ids, STEERED_TOKENS)

    def steered() -> torch.Tensor:
        return model.generate(ids, STEERED_TOKENS, edits=hooks)

    plain(), steered()
    pairs = [(_seconds(plain), _seconds(steered)) for _ in range(TRIALS)]
    theirs = _seconds(lambda: _greedy(model, ids, STEERED_TOKENS, min_new_tokens=STEERED_TOKENS))
    slow = {site: replace(hook, fixed=False) for site, hook in hooks.items()}
    same = torch.equal(steered(), model.generate(ids, STEERED_TOKENS, edits=slow))
    speeds = [STEERED_TOKENS / s for s in (*map(min, zip(*pairs, strict=True)), theirs)]
    return Row(
        "real-steering",
        "steering for 200 tokens: tokens per second as a fraction of plain generate with cache",
        (
            Check("fraction", speeds[1] / speeds[0], "≥ 0.7"),
            Check("same text as without the cache", float(same), "≥ 1"),
        ),
        f"SmolLM2, one clamped feature of {dictionary.config.d_dict}; best of {TRIALS} turns; "
        "tokens per second: plain {:.1f}, steered {:.1f}, transformers' generate {:.1f}".format(
            *speeds
        ),
    )


def opening(run: Run) -> Row:
    """Seconds from a new process to the first logits, the model dequantised before."""
    _smollm2()
    code = (
        "import torch; from inscape.model import Model; model = Model.open('smollm2'); "
        "model.run(torch.tensor([[1, 2, 3]]), logits='last'); print(model.hash)"
    )

    def start() -> None:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    seconds = [_seconds(start) for _ in range(TRIALS)]
    return Row(
        "real-opening",
        "opening smollm2 the second time, imports and its first logits included",
        (Check("seconds", min(seconds), "≤ 8"),),
        f"best of {TRIALS}, {os.cpu_count()} cores",
    )


def _smollm2() -> Model:
    try:
        return Model.open("smollm2", device="cpu")
    except ModelError as error:
        raise Absent(str(error)) from error


def _dictionary() -> Dictionary:
    folder = DATA / "smollm2-sae"
    if not folder.is_dir():
        raise Absent(f"{folder} is not there")
    return Dictionary.open(str(folder))


def _prompts() -> list[tuple[str, bool]]:
    """50 facts to continue and 50 questions to answer, every 13th of the files."""
    folder = DATA / "evals" / "factual"
    if not folder.is_dir():
        raise Absent(f"{folder} is not there")

    def read(name: str) -> list[str]:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        return [str(json.loads(line)["prompt"]) for line in lines[::13]][:NUM_PROMPTS]

    return [(text, False) for text in read("counterfact.jsonl")] + [
        (f"Complete the sentence: {text}", True) for text in read("known_1000.jsonl")
    ]


def _ids(model: Model, text: str, chat: bool) -> torch.Tensor:
    """Ids as transformers makes them."""
    if not chat:
        return torch.tensor([model.tokenizer.encode(text)])
    turn = [{"role": "user", "content": text}]
    found = model.tokenizer.apply_chat_template(
        turn, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    return torch.as_tensor(found["input_ids"])


def _greedy(model: Model, ids: torch.Tensor, max_new_tokens: int, **more: int) -> torch.Tensor:
    settings = {"max_new_tokens": max_new_tokens, "do_sample": False, **more}
    mask = torch.ones_like(ids)
    return torch.as_tensor(model.module.generate(ids, attention_mask=mask, **settings))


def _same(model: Model, ids: torch.Tensor) -> bool:
    return torch.equal(model.generate(ids, NEW_TOKENS), _greedy(model, ids, NEW_TOKENS))


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


FIGURES = {
    "real-answers": Measurement(answers, seeded=False),
    "real-steering": Measurement(steering, seeded=False),
    "real-opening": Measurement(opening, seeded=False),
}
