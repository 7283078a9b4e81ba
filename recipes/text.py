"""The text that the atlas of SmolLM2 is made from: a corpus and the model's own text, shuffled.

    python recipes/text.py CORPUS OWN EVALS OUT

Left out of OUT: documents that were there before, and those with a paragraph of the texts in EVALS
(a folder of .jsonl), so that figures on these are figures on unseen text. OUT gets train/ (all of
the model's own text, and as much of the corpus as NUM_BYTES allow) and corpus/ (other documents of
the corpus alone: what statistics and labels rest on).
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from inscape.activations import documents
from inscape.core import seeded

SEED = 17
NUM_BYTES = 16_200_000  # of the corpus in train/: about 3.8 M tokens
CORPUS_BYTES = 10_000_000  # in corpus/: about 2.5 M tokens
FILE_DOCUMENTS = 4000


def paragraphs(text: str) -> set[str]:
    """Paragraphs long enough to be known by, white space and case folded."""
    parts = (" ".join(part.lower().split()) for part in text.splitlines())
    return {part for part in parts if len(part) >= 40}


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def main(corpus: str, own: str, evals: str, out: str) -> None:
    judged: set[str] = set()
    for file in sorted(Path(evals).rglob("*.jsonl")):
        for line in file.read_text().splitlines():
            for text in strings(json.loads(line)):
                judged |= paragraphs(text)
    files = sorted(Path(corpus).glob("train-*.jsonl.gz"))
    seen: set[str] = set()
    kept: list[str] = []
    left_out = 0
    for file in files:
        for text in documents(file):
            assert isinstance(text, str)
            folded = " ".join(text.lower().split())
            if folded in seen or paragraphs(text) & judged:
                left_out += 1
                continue
            seen.add(folded)
            kept.append(text)
    rng = np.random.default_rng(seeded(SEED, "text"))
    order = rng.permutation(len(kept))
    sizes = np.cumsum([len(kept[i].encode()) for i in order])
    first, last = np.searchsorted(sizes, [NUM_BYTES, NUM_BYTES + CORPUS_BYTES])
    written: list[Any] = [kept[i] for i in order[:first]]
    own_text = list(documents(own))
    written += own_text
    shuffled = [written[i] for i in rng.permutation(len(written))]
    write(Path(out) / "train", shuffled)
    write(Path(out) / "corpus", [kept[i] for i in order[first:last]])
    print(f"{len(kept)} documents of the corpus, {left_out} left out, {len(own_text)} of its own")


def write(folder: Path, found: list[Any]) -> None:
    """The documents as .jsonl.gz files."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(found), FILE_DOCUMENTS):
        lines = (
            json.dumps({"text" if isinstance(d, str) else "messages": d}, ensure_ascii=False) + "\n"
            for d in found[start : start + FILE_DOCUMENTS]
        )
        path = folder / f"part-{start // FILE_DOCUMENTS:03d}.jsonl.gz"
        path.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
