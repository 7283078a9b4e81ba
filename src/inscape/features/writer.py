"""Writing a feature index from codes that arrive batch by batch.

1. Spill the active entries of every batch and sort them by feature (sparse.py).
2. Statistics, and one pass over the features: top examples, examples from every interval.
3. Logit effects and neighbours of the decoder rows (logits.py).
4. Two parquet files, the token table, the search file (search.py), and last the manifest; the
   folder appears as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import InputError, characters, first_shown, seeded, track
from inscape.features.examples import TOP, example_columns, interval_entries, joined, top_entries
from inscape.features.index import EXAMPLES_PER_GROUP, KIND, VERSION
from inscape.features.logits import HeadInputs, LogitEffects, logit_effects, neighbours
from inscape.features.search import Texts, write_search
from inscape.features.sparse import Spill, histogram_edges, statistics
from inscape.features.table import TokenTable, clean
from inscape.features.thresholds import DENSE
from inscape.storage import write_manifest

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class IndexOptions:
    """How much an index holds.

    num_examples: top examples a feature. num_quantiles: equal intervals between 0 and the
    feature's maximum, with `per_quantile` examples each. window: tokens left and right of an
    example. num_logit_tokens, num_neighbours: lengths of those lists.
    """

    num_examples: int = 20
    num_quantiles: int = 5
    per_quantile: int = 4
    window: tuple[int, int] = (24, 8)
    num_logit_tokens: int = 12
    num_neighbours: int = 8
    seed: int = 0

    def check(self) -> None:
        """InputError where an option makes no sense."""
        counts = (self.num_examples, self.num_quantiles, self.per_quantile)
        if min(counts) < 1 or max(counts) > 100 or min(self.window) < 0:
            raise InputError(
                f"num_examples, num_quantiles, per_quantile are {counts}, window is {self.window}",
                expected="1 to 100 examples and a window of 0 or more tokens on each side",
            )


def finish_index(
    folder: Path,
    spill: Spill,
    table: TokenTable,
    head: HeadInputs,
    options: IndexOptions,
    made_from: Mapping[str, Any],
    *,
    thresholds: Tensor | None = None,
) -> None:
    """Everything but the codes, which `spill` holds; its flat files are gone afterwards.

    thresholds [m]: what the codes of a dense dictionary were cut at, for the record.
    """
    with spill:
        spill.sort(folder)
    num_features, largest = spill.num_features, spill.largest
    positions = np.load(folder / "positions.npy", mmap_mode="r")
    values = np.load(folder / "values.npy", mmap_mode="r")
    indptr = np.load(folder / "indptr.npy")
    figures = statistics(indptr, positions, values, table.num_considered, largest)
    examples = _examples(indptr, positions, values, table, options)
    effects = logit_effects(head, options.num_logit_tokens)
    similar = neighbours(head.decoder, options.num_neighbours)
    _fill_texts(table, effects, head.token_text)
    columns = _feature_columns(figures, effects, similar, examples, table)
    if thresholds is not None:
        columns["threshold"] = pa.array(as_numpy(thresholds))
    pq.write_table(pa.table(columns), folder / "features.parquet")
    pq.write_table(
        _example_table(examples, table),
        folder / "examples.parquet",
        row_group_size=EXAMPLES_PER_GROUP,
    )
    table.save(folder)
    write_search(folder, _texts(examples, table, effects))
    extra = {
        "num_features": num_features,
        "num_tokens": len(table),
        "num_considered": table.num_considered,
        "num_quantiles": options.num_quantiles,
        "histogram_edges": histogram_edges(largest).tolist(),
        "indexed": "all activations"
        if thresholds is None
        else f"the strongest {DENSE:.0%} of each feature's activations, by a sample of the text",
    }
    seeds = {"examples": options.seed}
    write_manifest(folder, KIND, VERSION, made_from=made_from, seeds=seeds, extra=extra)


def _texts(examples: Columns, table: TokenTable, effects: LogitEffects) -> Iterator[Texts]:
    """What each feature is found by."""
    top, ids = np.flatnonzero(examples["quantile"] == TOP), np.asarray(table.ids)
    row, start, length = (examples[name] for name in ("row", "start", "length"))
    bounds = np.searchsorted(examples["feature"][top], np.arange(len(effects.promoted) + 1))
    for feature, promoted in enumerate(effects.promoted):
        windows = []
        for i in top[bounds[feature] : bounds[feature + 1]]:
            tokens = characters([table.text(t) for t in ids[start[i] : start[i] + length[i]]])
            windows.append((tokens, first_shown(tokens, int(row[i] - start[i]))))
        yield Texts(windows, [table.text(t) for t in promoted])


def _examples(
    indptr: NDArray[np.int64],
    positions: NDArray[np.int32],
    stored: NDArray[np.floating],
    table: TokenTable,
    options: IndexOptions,
) -> Columns:
    """The examples of every feature."""
    found = []
    bounds, documents = table.bounds, np.asarray(table.documents)
    for feature in track(range(indptr.size - 1), "examples", unit="features"):
        part = slice(int(indptr[feature]), int(indptr[feature + 1]))
        rows, values = np.asarray(positions[part]), np.asarray(stored[part], np.float32)
        if rows.size == 0:
            continue
        owners = documents[rows]
        # a stream of its own for each feature: the same examples whatever the others are
        rng = np.random.default_rng(seeded(options.seed, "examples", feature))
        top = top_entries(owners, values, options.num_examples)
        spread, intervals = interval_entries(
            owners, values, options.num_quantiles, options.per_quantile, rng
        )
        places = np.concatenate([top, spread])
        quantile = np.concatenate([np.full(top.size, TOP, np.int8), intervals])
        found.append(
            example_columns(feature, (rows, values), (places, quantile), bounds, options.window)
        )
    return joined(found)


def _fill_texts(table: TokenTable, effects: LogitEffects, text: Callable[[int], str]) -> None:
    ids = np.unique(
        np.concatenate([table.ids, effects.promoted.ravel(), effects.suppressed.ravel()])
    )
    table.texts.update({int(i): clean(text(int(i))) for i in ids if int(i) not in table.texts})


def _lists(values: pa.Array, offsets: NDArray[np.int64]) -> pa.Array:
    """A column of lists, one after another in `values`."""
    return pa.LargeListArray.from_arrays(offsets, values)


def _strings(ids: NDArray[Any], table: TokenTable) -> pa.Array:
    """Token ids as an arrow array of their strings, each string stored once."""
    unique, inverse = np.unique(ids, return_inverse=True)
    words = pa.array([table.text(i) for i in unique], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(inverse.astype(np.int32).ravel()), words)


def _feature_columns(
    figures: Mapping[str, NDArray[Any]],
    effects: LogitEffects,
    similar: tuple[NDArray[np.int32], NDArray[np.float32]],
    examples: Columns,
    table: TokenTable,
) -> dict[str, pa.Array]:
    num = figures["density"].size
    counts = np.bincount(examples["feature"], minlength=num)
    columns: dict[str, NDArray[Any]] = {
        "feature": np.arange(num, dtype=np.int32),
        **figures,
        "promoted_ids": effects.promoted,
        "promoted_logits": effects.promoted_logits,
        "suppressed_ids": effects.suppressed,
        "suppressed_logits": effects.suppressed_logits,
        "neighbours": similar[0],
        "neighbour_cosines": similar[1],
        "example_start": np.cumsum(counts) - counts,
        "num_examples": counts,
    }

    def listed(matrix: NDArray[Any], values: pa.Array) -> pa.Array:
        return _lists(values, np.arange(num + 1, dtype=np.int64) * matrix.shape[1])

    made = {
        name: pa.array(x) if x.ndim == 1 else listed(x, pa.array(x.ravel()))
        for name, x in columns.items()
    }
    for name, ids in (("promoted", effects.promoted), ("suppressed", effects.suppressed)):
        made[f"{name}_tokens"] = listed(ids, _strings(ids, table))
    return made


def _example_table(examples: Columns, table: TokenTable) -> pa.Table:
    row, start, length = (examples[name] for name in ("row", "start", "length"))
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], length)
    ids = np.asarray(table.ids)[np.repeat(start, length) + within]
    return pa.table(
        {
            "feature": examples["feature"],
            "quantile": examples["quantile"],
            "document": np.asarray(table.documents)[row],
            "position": np.asarray(table.positions)[row],
            "row": row,
            "peak": (row - start).astype(np.int32),
            "value": examples["value"],
            "token_ids": _lists(pa.array(ids), offsets),
            "tokens": _lists(_strings(ids, table), offsets),
            "values": _lists(pa.array(examples["window"]), offsets),
        }
    )


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """A tensor's values on the CPU; bf16 becomes float32."""
    found: NDArray[Any] = (
        tensor.detach()
        .to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
        .numpy()
    )
    return found
