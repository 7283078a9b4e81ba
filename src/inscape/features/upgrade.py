"""Indexes of version 2, as they are read: written again in the present form, in their place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inscape.features.coactive import coactive
from inscape.features.examples import Columns
from inscape.features.logits import LogitEffects
from inscape.features.table import TokenTable
from inscape.features.tables import write_examples, write_features
from inscape.storage import artefact, atomic_folder, read_manifest, write_manifest


def upgrade(folder: Path, kind: str, version: int) -> None:
    """Rewrites the index in `folder`."""
    manifest = read_manifest(folder, kind, version)
    names = ("ids", "documents", "positions", "considered")
    arrays = {name: np.load(folder / f"token_{name}.npy") for name in names}
    words = pq.read_table(folder / "vocabulary.parquet").to_pydict()
    table = TokenTable(**arrays, texts=dict(zip(words["id"], words["text"], strict=True)))
    old = pq.read_table(folder / "features.parquet")
    num = old.num_rows

    def matrix(name: str, kind: Any) -> np.ndarray[Any, Any]:
        flat = old.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
        found: np.ndarray[Any, Any] = flat.astype(kind).reshape(num, -1)
        return found

    effects = LogitEffects(
        matrix("promoted_ids", np.int32),
        matrix("promoted_logits", np.float32),
        matrix("suppressed_ids", np.int32),
        matrix("suppressed_logits", np.float32),
    )
    similar = matrix("neighbours", np.int32), matrix("neighbour_cosines", np.float32)
    figures = {
        name: old.column(name).to_numpy()
        for name in ("num_active", "density", "max", "mean_active", "threshold")
        if name in old.column_names
    } | {"histogram": matrix("histogram", np.int64)}
    counts = old.column("num_examples").to_numpy()

    def examples() -> Iterator[Columns]:
        file = pq.ParquetFile(folder / "examples.parquet")
        groups: dict[int, Any] = {}
        start = 0
        for feature, count in enumerate(counts.tolist()):
            parts = []
            while count:
                number, first = divmod(start, 4096)
                if number not in groups:
                    wanted = ["quantile", "row", "peak", "value", "values"]
                    groups = {number: file.read_row_group(number, columns=wanted)}
                part = groups[number].slice(first, count)
                parts.append(part)
                start, count = start + part.num_rows, count - part.num_rows
            if not parts:
                continue
            found = pa.concat_tables(parts).combine_chunks()
            row = found.column("row").to_numpy().astype(np.int32)
            values = found.column("values").combine_chunks()
            yield {
                "feature": np.full(row.size, feature, np.int32),
                "quantile": found.column("quantile").to_numpy(),
                "row": row,
                "start": row - found.column("peak").to_numpy(),
                "length": np.diff(values.offsets.to_numpy()).astype(np.int32),
                "value": found.column("value").to_numpy(),
                "window": values.flatten().to_numpy(),
            }

    indptr, positions = (np.load(folder / f"{name}.npy") for name in ("indptr", "positions"))
    order = np.argsort(positions, kind="stable")
    features = np.repeat(np.arange(num, dtype=np.int32), np.diff(indptr))[order]
    starts = np.searchsorted(positions[order], np.arange(len(table) + 1))
    together = coactive(indptr, positions, (starts, features), manifest["num_considered"], 8)
    tokens = table.save(folder.parent)
    with atomic_folder(folder, artefact(kind)) as new:
        for name in ("indptr.npy", "positions.npy", "values.npy", "search.sqlite"):
            os.link(folder / name, new / name)
        found = write_examples(new, examples(), num, table.ids)
        write_features(new, figures, effects, similar, together, found)
        kept = ("num_features", "num_tokens", "num_considered", "num_quantiles")
        extra = {name: manifest[name] for name in (*kept, "histogram_edges", "indexed")}
        made_from, seeds = manifest["made_from"], manifest["seeds"]
        extra |= {"tokens": tokens, "num_duplicates": table.num_duplicates}
        write_manifest(new, kind, version, made_from=made_from, seeds=seeds, extra=extra)
