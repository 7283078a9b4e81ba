"""The two tables of an index: features.parquet and examples.parquet.

An example is stored as the row of its peak in the token table, the peak's place in the window, and
the activation on each token of the window in 8 bits: `activations * scale`. Tokens and documents
are read from tokens.parquet, by rows from row - peak on: they are not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inscape.features.examples import TOP, Columns, commonest, joined
from inscape.features.logits import LogitEffects
from inscape.features.parquet import lists, ragged, rounded, table_writer, write_table

FEATURES, EXAMPLES = "features.parquet", "examples.parquet"
FEATURES_PER_GROUP = 4096
EXAMPLES_PER_GROUP = 4096
"""Rows that are read together, so that one feature is found without reading the rest."""
STEPS = 255  # of a window's activation, up to the feature's largest in its examples
_TOGETHER = 16 * EXAMPLES_PER_GROUP  # examples that are held before they are written

Ragged = tuple[NDArray[Any], NDArray[np.int64]]
"""Lists of different lengths: all values one after another, and the offset of each list."""

_SCHEMA = pa.schema(
    {
        "feature": pa.int32(),
        "quantile": pa.int8(),
        "row": pa.int32(),
        "peak": pa.int32(),
        "value": pa.float32(),
        "scale": pa.float32(),
        "activations": pa.large_list(pa.uint8()),
    }
)


def write_examples(
    folder: Path, examples: Iterable[Columns], num_features: int, ids: NDArray[np.int32]
) -> tuple[NDArray[np.int64], Ragged]:
    """Writes examples.parquet, from the examples of one feature after another (those that have
    any); ids [n] are the text's token ids.

    Returns:
        The number of examples of each feature, and the tokens that its top examples peak on most.
    """
    counts = np.zeros(num_features, np.int64)
    peaks: list[NDArray[np.int32]] = []
    num_peaks = np.zeros(num_features, np.int64)
    held: list[pa.Table] = []
    with table_writer(folder / EXAMPLES, _SCHEMA, ("feature",)) as writer:
        parts: list[Columns] = []
        size = 0

        def write(rest: bool) -> None:
            nonlocal parts, size
            if parts:
                held.append(_table(parts))
            table = pa.concat_tables(held) if held else _SCHEMA.empty_table()
            whole = table.num_rows if rest else table.num_rows // EXAMPLES_PER_GROUP
            whole = whole if rest else whole * EXAMPLES_PER_GROUP
            writer.write_table(table.slice(0, whole), row_group_size=EXAMPLES_PER_GROUP)
            held[:] = [table.slice(whole)]
            parts, size = [], 0

        for found in examples:
            feature = int(found["feature"][0])
            counts[feature] = found["row"].size
            peaks.append(commonest(ids[found["row"][found["quantile"] == TOP]]))
            num_peaks[feature] = peaks[-1].size
            parts.append(found)
            size += found["row"].size
            if size >= _TOGETHER:
                write(rest=False)
        write(rest=True)
    offsets = np.concatenate([[0], np.cumsum(num_peaks)]).astype(np.int64)
    return counts, (np.concatenate([np.zeros(0, np.int32), *peaks]), offsets)


def _table(parts: Sequence[Columns]) -> pa.Table:
    largest = [max(float(part["window"].max(initial=0)), 1e-30) for part in parts]
    scale = rounded(np.array(largest, np.float32) / STEPS)
    sizes = [part["window"].size for part in parts]
    all_of = joined(parts)
    window = all_of["window"] / np.repeat(scale, sizes)
    steps = np.where(window > 0, np.clip(np.rint(window), 1, STEPS), 0).astype(np.uint8)
    offsets = np.concatenate([[0], np.cumsum(all_of["length"])]).astype(np.int64)
    columns = {
        "feature": pa.array(all_of["feature"]),
        "quantile": pa.array(all_of["quantile"]),
        "row": pa.array(all_of["row"]),
        "peak": pa.array(all_of["row"] - all_of["start"]),
        "value": pa.array(rounded(all_of["value"])),
        "scale": pa.array(np.repeat(scale, [part["row"].size for part in parts])),
        "activations": ragged(steps, offsets),
    }
    return pa.table(columns, schema=_SCHEMA)


def write_features(
    folder: Path,
    figures: Mapping[str, NDArray[Any]],
    effects: LogitEffects,
    similar: tuple[NDArray[np.int32], NDArray[np.float32]],
    together: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]],
    examples: tuple[NDArray[np.int64], Ragged],
) -> None:
    """Writes features.parquet: statistics, logit effects, neighbours by direction and by firing,
    the tokens at its peaks, and where its examples lie."""
    counts, (peaks, offsets) = examples
    columns: dict[str, pa.Array] = {
        "feature": pa.array(np.arange(counts.size, dtype=np.int32)),
        **{name: _column(values) for name, values in figures.items()},
        "promoted_ids": lists(effects.promoted),
        "promoted_logits": lists(rounded(effects.promoted_logits)),
        "suppressed_ids": lists(effects.suppressed),
        "suppressed_logits": lists(rounded(effects.suppressed_logits)),
        "neighbours": lists(similar[0]),
        "neighbour_cosines": lists(rounded(similar[1])),
        "coactive": ragged(together[0], together[2]),
        "coactive_correlations": ragged(rounded(together[1]), together[2]),
        "peak_ids": ragged(peaks, offsets),
        "example_start": pa.array(np.cumsum(counts) - counts),
        "num_examples": pa.array(counts.astype(np.int32)),
    }
    ascending = ("feature", "example_start")
    write_table(folder / FEATURES, columns, FEATURES_PER_GROUP, sorted_by=ascending)


def _column(values: NDArray[Any]) -> pa.Array:
    values = rounded(values) if values.dtype.kind == "f" else values
    return pa.array(values) if values.ndim == 1 else lists(values.astype(np.int32))
