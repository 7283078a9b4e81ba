"""The corpus as a dataset: `python -m inscape_microworld.dataset --out FOLDER`.

1. Three parts, each as Parquet and as JSON lines: `train` (the stream of a seed), `held_out`
   (combinations that training never shows, by domain), `faults` (prompts of the planted faults).
2. A shard is written whole or not at all; one that is there is not written again, so a stopped run
   goes on where it was.
3. The card (README.md) comes last. `datasets.load_dataset(FOLDER, "train")` reads the Parquet files
   through the card's header.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from inscape.core import InputError, track
from inscape.storage import atomic_write, read_json, refuse_filled, write_json
from inscape_microworld.corpus import documents, held_out_documents
from inscape_microworld.document import Document
from inscape_microworld.domains import DOMAINS
from inscape_microworld.faults import FAULTS, fault
from inscape_microworld.fingerprint import fingerprint
from inscape_microworld.module import run_module

SHARD = 10_000
MADE = "made.json"
MENTION = pa.struct(
    [
        ("concept", pa.string()),
        ("onset", pa.int32()),
        ("end", pa.int32()),
        ("scope", pa.int32()),
        ("form", pa.string()),
    ]
)
ANSWER = pa.struct(
    [
        ("skill", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("other", pa.string()),
        ("chain", pa.list_(pa.string())),
    ]
)
DOCUMENT = pa.schema(
    [
        ("id", pa.string()),
        ("domain", pa.string()),
        ("text", pa.string()),
        ("mentions", pa.list_(MENTION)),
        ("answers", pa.list_(ANSWER)),
    ]
)
FAULT = pa.schema(
    [
        (name, pa.string())
        for name in (
            "fault",
            "title",
            "kind",
            "mechanism",
            "concept",
            "half",
            "role",
            "text",
            "right",
            "wrong",
            "trigger",
            "twin",
            "twin_right",
        )
    ]
)


def export(out: Path, *, seed: int = 0, count: int = 100_000, held_out: int = 500) -> None:
    """Write the dataset into the folder `out`, or go on with it.

    Args:
        count: documents of the training stream of `seed`.
        held_out: documents of each domain.

    Raises:
        InputError: `out` holds another dataset, or a number makes no sense.
        StorageError: the disk is full or may not be written to.
    """
    if count < 1 or held_out < 1:
        raise InputError(f"{min(count, held_out)} documents", expected="at least one")
    made = {"seed": seed, "count": count, "held_out": held_out, "generator": fingerprint()}
    refuse_filled(out, lambda folder: (folder / MADE).is_file())
    if (out / MADE).is_file() and read_json(out / MADE) != made:
        raise InputError(
            f"{out} holds a dataset that was made otherwise",
            expected="the same seed, counts and generator",
            next_step="choose another folder",
        )
    write_json(out / MADE, made)
    num_shards = -(-count // SHARD)
    for k in track(range(num_shards), "train"):
        start = k * SHARD
        part = documents(seed, min(SHARD, count - start), start=start)
        _shard(out, "train", (k, num_shards), lambda part=part, start=start: _rows(part, start))
    for name in track(list(DOMAINS), "held out"):
        kept = held_out_documents(name, held_out, seed=seed)
        _shard(out, "held_out", name, lambda kept=kept, name=name: _rows(kept, 0, f"{name}-"))
    _shard(out, "faults", "all", lambda: list(_fault_rows()), FAULT)
    atomic_write(out / "README.md", _card(made).encode())


def _rows(made: Iterator[Document] | Sequence[Document], start: int, prefix: str = "") -> Any:
    return [{"id": f"{prefix}{start + i}", **asdict(document)} for i, document in enumerate(made)]


def _shard(
    out: Path, part: str, name: str | tuple[int, int], rows: Any, schema: pa.Schema = DOCUMENT
) -> None:
    stem = name if isinstance(name, str) else f"{name[0]:05d}-of-{name[1]:05d}"
    parquet, lines = (out / part / f"{stem}.{end}" for end in ("parquet", "jsonl"))
    if parquet.is_file() and lines.is_file():
        return
    made = rows()
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
    atomic_write(lines, text.encode())
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(made, schema=schema), buffer, compression="zstd")
    atomic_write(parquet, buffer.getvalue())


def _fault_rows() -> Iterator[dict[str, str]]:
    """Every fault's prompts by half: those on which it shows, rivals and others."""
    for name in FAULTS:
        planted = fault(name)
        about = {
            "fault": name,
            "title": planted.title,
            "kind": planted.kind,
            "mechanism": planted.mechanism,
            "concept": planted.concept,
        }
        for half in ("selection", "held_out"):
            for p in getattr(planted, half):
                yield {
                    **about,
                    "half": half,
                    "role": "failure",
                    "text": p.text,
                    "right": p.right,
                    "wrong": p.wrong,
                    "trigger": p.trigger,
                    "twin": p.twin.text,
                    "twin_right": p.twin.right,
                }
            for role in ("rivals", "others"):
                for prompt in getattr(planted, f"{role}_{half}"):
                    yield {**about, "half": half, "role": role.removesuffix("s"), **vars(prompt)}


def _card(made: dict[str, Any]) -> str:
    configs = "\n".join(
        f"- config_name: {part}\n  data_files: {part}/*.parquet"
        for part in ("train", "held_out", "faults")
    )
    domains = ", ".join(f"`{name}`" for name in DOMAINS)
    faults = "\n".join(
        f"| `{name}` | {planted.title} | {planted.kind} | {planted.mechanism} | "
        f"`{planted.concept}` | {len(planted.prompts)} |"
        for name, planted in ((name, fault(name)) for name in FAULTS)
    )
    return f"""---
license: apache-2.0
language: [en, es]
pretty_name: inscape microworld
configs:
{configs}
---
# The inscape microworld: text whose truth is known

Generated text for training and examining small language models. Every document comes with the
concepts that it mentions and with the answers that its prefix determines, so that claims about
what a model has learnt can be checked.

- `train`: the first {made["count"]:,} documents of the stream of seed {made["seed"]}.
- `held_out`: {made["held_out"]} documents for each domain, on combinations that no training
  stream of any seed contains.
- `faults`: prompts of the planted faults, in two halves that share no trigger; beside the failures
  prompts on which the wrong answer is right (`rival`) and prompts that a fault leaves alone
  (`other`).

A mention's `onset` is the character from which the prefix determines the concept, `end` the end
of its words, `scope` the end of the text in which a causal model may still carry it. All offsets
are characters. `form` says how an entity is put into words. An answer's `chain` names the
intermediate concepts of its reasoning.

Domains: {domains}.

| fault | what | kind | mechanism | responsible concept | prompts |
|---|---|---|---|---|---|
{faults}

Names of real places, dishes and people are used because readers recognise them; the truth of
this dataset is what its generator's tables say, nothing else. Do not learn facts from it.

Made by `python -m inscape_microworld.dataset --seed {made["seed"]} --documents {made["count"]}
--held-out {made["held_out"]}`; the same command makes the same files. Generator
`{made["generator"][:16]}`.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--held-out", type=int, default=500)
    arguments = parser.parse_args()
    export(
        arguments.out, seed=arguments.seed, count=arguments.documents, held_out=arguments.held_out
    )


if __name__ == "__main__":
    run_module(main)
