"""A small copy of an index, to be shared: statistics, and fewer examples.

1. Of each feature the strongest examples and some from every interval are kept, in their order, and
   of the lists of tokens and neighbours the beginnings.
2. The examples may be those of another index of the same dictionary, over a text that may be passed
   on, while statistics and neighbours rest on the first: `examples_from` in the manifest says so.
3. The activations are left out, and the search file, which is made again where it is first needed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inscape.core import InputError
from inscape.features.examples import TOP
from inscape.features.index import KIND, VERSION, FeatureIndex
from inscape.features.parquet import ragged, write_table
from inscape.features.tables import EXAMPLES, EXAMPLES_PER_GROUP, FEATURES, FEATURES_PER_GROUP
from inscape.storage import atomic_folder, write_manifest


@dataclass(frozen=True)
class Compact:
    """How much a small copy holds of each feature.

    num_examples: strongest examples; per_quantile: from each interval. num_promoted,
    num_suppressed: tokens by direct logit effect. num_neighbours: by direction and by firing, each.
    histogram: of activations.
    """

    num_examples: int = 6
    per_quantile: int = 2
    num_promoted: int = 8
    num_suppressed: int = 4
    num_neighbours: int = 5
    histogram: bool = True


def compact_index(
    index: FeatureIndex,
    out: Path,
    keep: Compact | None = None,
    *,
    examples: FeatureIndex | None = None,
) -> FeatureIndex:
    """Writes a small copy of an index to the folder `out`, and beside it the tokens that its
    examples lie in, unless they are there.

    Args:
        examples: another index of the same dictionary, from which the examples are taken.

    Raises:
        InputError: `examples` is of another dictionary, or the folder holds something.
        StorageError: the disk is full, or the index is damaged.
    """
    keep, shown = keep or Compact(), examples or index
    made_from = dict(index.manifest["made_from"])
    other = shown.manifest["made_from"]
    if any(other.get(of) != made_from.get(of) for of in ("dictionary_hash", "model_hash")):
        raise InputError(
            f"the examples of {shown.folder} are of another dictionary than {index.folder}",
            expected="two indexes of one dictionary, over two texts",
        )
    out = Path(out)
    tokens = shown.tokens.save(out.parent)
    with atomic_folder(out) as folder:
        picked, counts = _picked(shown.example_table(), index.num_features, keep)
        write_table(folder / EXAMPLES, picked, EXAMPLES_PER_GROUP, sorted_by=("feature",))
        columns = _shortened(index.table, keep)
        columns["peak_ids"] = shown.table.column("peak_ids")
        columns["example_start"] = pa.array(np.cumsum(counts) - counts)
        columns["num_examples"] = pa.array(counts.astype(np.int32))
        ascending = ("feature", "example_start")
        write_table(folder / FEATURES, columns, FEATURES_PER_GROUP, sorted_by=ascending)
        own = ("kind", "version", "inscape", "made_from", "seeds", "files")
        extra = {name: of for name, of in index.manifest.items() if name not in own}
        extra |= {"tokens": tokens, "kept": asdict(keep)}
        if examples is not None:
            extra["examples_from"] = {"inputs": examples.hash, "text": other.get("text")}
        seeds = index.manifest["seeds"]
        write_manifest(folder, KIND, VERSION, made_from=made_from, seeds=seeds, extra=extra)
    return FeatureIndex.open(out)


def _picked(
    table: pa.Table, num_features: int, keep: Compact
) -> tuple[dict[str, pa.Array], NDArray[np.int64]]:
    """The examples that are kept, and how many of each feature."""
    feature, quantile = (table.column(name).to_numpy() for name in ("feature", "quantile"))
    group = feature.astype(np.int64) * 256 + quantile
    opens = np.append(True, group[1:] != group[:-1])[: group.size]
    rank = np.arange(group.size) - np.maximum.accumulate(np.where(opens, np.arange(group.size), 0))
    most = np.where(quantile == TOP, keep.num_examples, keep.per_quantile)
    kept = np.flatnonzero(rank < most)
    found = table.take(kept).combine_chunks()
    counts = np.bincount(feature[kept], minlength=num_features)
    return {name: found.column(name).combine_chunks() for name in table.column_names}, counts


def _shortened(table: pa.Table, keep: Compact) -> dict[str, Any]:
    """The columns of features.parquet with shorter lists."""
    most = {
        "promoted_ids": keep.num_promoted,
        "promoted_logits": keep.num_promoted,
        "suppressed_ids": keep.num_suppressed,
        "suppressed_logits": keep.num_suppressed,
        "neighbours": keep.num_neighbours,
        "neighbour_cosines": keep.num_neighbours,
        "coactive": keep.num_neighbours,
        "coactive_correlations": keep.num_neighbours,
    }
    found: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name in most:
            sizes = np.diff(column.offsets.to_numpy())
            place = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            values = column.flatten().to_numpy()[place < most[name]]
            offsets = np.concatenate([[0], np.cumsum(np.minimum(sizes, most[name]))])
            column = ragged(values, offsets.astype(np.int64))
        if name != "histogram" or keep.histogram:
            found[name] = column
    return found
