"""Text that a model writes itself: a corpus where none may be copied, or where one is thin.

1. Openings are continued (texts) or answered (chat messages) in batches, padded on the left.
2. Each batch has a seed of its own and becomes one file, written when it is whole: a stopped run
   goes on with the first batch that is missing, and gives what one run would have given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from inscape.activations.documents import Document
from inscape.core import InputError, finite_number, progress, seeded, whole
from inscape.model import Model
from inscape.storage import atomic_write, lock, read_json, refuse_filled, write_json

REQUEST = "sample.json"


def sample_text(
    model: Model,
    openings: Sequence[Document],
    out: str | Path,
    *,
    new_tokens: int = 96,
    temperature: float = 0.8,
    top_k: int = 64,
    batch_size: int = 64,
    seed: int = 0,
) -> Path:
    """Continues texts and answers chat messages; returns the folder `out` of .jsonl files.

    Args:
        model: what writes; on the CPU float32 is as fast as bf16 for this.
        openings: texts, or chat messages that end with a user's.
        new_tokens: tokens of each document at most, the opening not counted.
        temperature, top_k: of the sampling.

    Raises:
        InputError: there is no opening, or `out` holds something else or other settings' text.
    """
    out = Path(out)
    if not openings:
        raise InputError("there is no opening to continue", expected="at least one text")
    whole(new_tokens, "number of new tokens", 1)
    whole(batch_size, "batch size", 1)
    whole(top_k, "top_k", 1)
    if finite_number(temperature, "a temperature") <= 0:
        raise InputError(f"a temperature of {temperature}", expected="above 0")
    settings = {
        "model": model.name,
        "model_hash": model.hash,
        "bos": model.bos,
        "openings": hashlib.sha256(json.dumps(list(openings)).encode()).hexdigest(),
        "new_tokens": new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "batch_size": batch_size,
        "seed": seed,
    }
    refuse_filled(out, lambda folder: (folder / REQUEST).is_file() or not any(folder.iterdir()))
    if (out / REQUEST).is_file() and (found := read_json(out / REQUEST)) != settings:
        other = next(name for name in settings if found.get(name) != settings[name])
        raise InputError(
            f"{out} holds text that was sampled with another {other}",
            next_step="choose another folder, or remove that one",
        )
    with lock(out), progress("sample", len(openings), "documents") as bar:
        write_json(out / REQUEST, settings)
        for start in range(0, len(openings), batch_size):
            batch = openings[start : start + batch_size]
            file = out / f"sampled-{start // batch_size:05d}.jsonl"
            if not file.is_file():
                own = seeded(seed, "sample", start // batch_size) % 2**31
                made = _continued(model, batch, new_tokens, temperature, top_k, own)
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in made)
                atomic_write(file, "".join(lines).encode())
            bar.advance(len(batch))
    return out


def _continued(
    model: Model,
    openings: Sequence[Document],
    new_tokens: int,
    temperature: float,
    top_k: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The documents of one batch."""
    from transformers import GenerationConfig

    read = [list(model.prompt(opening).ids) for opening in openings]
    longest = max(map(len, read))
    pad = model.end_ids[0] if model.end_ids else 0
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in read])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in read])
    module: Any = model.module
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=temperature,
        top_k=top_k,
        max_new_tokens=new_tokens,
        pad_token_id=pad,
        eos_token_id=list(model.end_ids) or None,
    )
    on_card = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(on_card), torch.inference_mode():
        torch.manual_seed(seed)
        written = module.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=settings,
        )
    texts = [model.decode(row[longest:]).rstrip() for row in written.tolist()]
    return [_document(*pair) for pair in zip(openings, texts, strict=True)]


def _document(opening: Document, text: str) -> dict[str, Any]:
    if isinstance(opening, str):
        return {"text": opening + text}
    return {"messages": [*opening, {"role": "assistant", "content": text}]}
