"""Writing a feature index from the codes of a pass over a text.

1. The codes of the pass (passes.py) are sorted by feature (sparse.py).
2. Statistics, and one pass over the features: top examples, examples from every interval.
3. Logit effects and neighbours of the decoder rows (logits.py); features that fire together.
4. Two tables (tables.py), the search file (search.py), and last the manifest; the folder appears as
   a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import InputError, seeded, track
from inscape.features.coactive import coactive
from inscape.features.examples import TOP, Columns, chosen_examples, interval_entries, top_entries
from inscape.features.index import ARRAYS, KIND, VERSION, FeatureIndex
from inscape.features.logits import HeadInputs, logit_effects, neighbours
from inscape.features.passes import Codes
from inscape.features.search import write_search
from inscape.features.sparse import BY_ROW, by_row, histogram_edges, let_go, sort_codes, statistics
from inscape.features.table import TokenTable
from inscape.features.tables import write_examples, write_features
from inscape.features.thresholds import DENSE
from inscape.storage import write_manifest


@dataclass(frozen=True)
class IndexOptions:
    """How much an index holds.

    num_examples: top examples a feature. num_quantiles: equal intervals between 0 and the
    feature's maximum, with `per_quantile` examples each. window: tokens left and right of an
    example. num_logit_tokens, num_neighbours: lengths of those lists. activations: keep where
    every feature fires, most of an index's size, which labels and comparisons need.
    """

    num_examples: int = 20
    num_quantiles: int = 5
    per_quantile: int = 4
    window: tuple[int, int] = (24, 8)
    num_logit_tokens: int = 12
    num_neighbours: int = 8
    seed: int = 0
    activations: bool = True

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
    codes: Codes,
    table: TokenTable,
    tokens: str,
    head: HeadInputs,
    options: IndexOptions,
    made_from: Mapping[str, Any],
    *,
    thresholds: Tensor | None = None,
) -> None:
    """Writes the index of these codes into an empty folder.

    tokens: the name of the folder beside this one that `table` is saved in. thresholds [m]: what
    the codes of a dense dictionary were cut at, for the record.
    """
    num = options.num_neighbours
    largest = sort_codes(codes, folder)
    indptr, positions, values = (np.load(folder / name, mmap_mode="r") for name in ARRAYS)
    rows = by_row(codes, folder)
    together = coactive(indptr, positions, rows, table.num_considered, num)
    del rows
    (folder / BY_ROW).unlink(missing_ok=True)
    let_go(positions)
    figures = statistics(indptr, values, table.num_considered, largest)
    if thresholds is not None:
        figures["threshold"] = as_numpy(thresholds)
    effects = logit_effects(head, options.num_logit_tokens)
    similar = neighbours(head.decoder, num)
    found = _examples(indptr, positions, values, table, options)
    examples = write_examples(folder, found, codes.num_features, np.asarray(table.ids))
    write_features(folder, figures, effects, similar, together, examples)
    extra = {
        "num_features": codes.num_features,
        "num_tokens": len(table),
        "num_considered": table.num_considered,
        "num_duplicates": table.num_duplicates,
        "num_quantiles": options.num_quantiles,
        "tokens": tokens,
        "histogram_edges": histogram_edges(largest).tolist(),
        "indexed": "all activations"
        if thresholds is None
        else f"the strongest {DENSE:.0%} of each feature's activations, by a sample of the text",
    }
    write_search(folder, FeatureIndex(folder, {"made_from": made_from, **extra}).texts())
    if not options.activations:
        for name in ARRAYS:
            (folder / name).unlink()
    seeds = {"examples": options.seed}
    write_manifest(folder, KIND, VERSION, made_from=made_from, seeds=seeds, extra=extra)


def _examples(
    indptr: NDArray[np.int64],
    positions: NDArray[np.int32],
    stored: NDArray[np.floating],
    table: TokenTable,
    options: IndexOptions,
) -> Iterator[Columns]:
    """The examples of every feature that fires."""
    bounds, documents = table.bounds, table.distinct
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
        yield chosen_examples(feature, (rows, values), (places, quantile), bounds, options.window)


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """A tensor's values on the CPU; bf16 becomes float32."""
    found: NDArray[Any] = (
        tensor.detach()
        .to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
        .numpy()
    )
    return found
