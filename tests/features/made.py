"""An index made from codes that a test chooses, without a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from inscape.features import FeatureIndex, IndexOptions, TokenTable
from inscape.features.logits import HeadInputs
from inscape.features.passes import Codes, entries_of
from inscape.features.writer import finish_index
from inscape.storage import atomic_folder


def write_index(
    out: Path,
    table: TokenTable,
    batches: Iterable[Any],
    head: HeadInputs,
    options: IndexOptions | None = None,
    name: str = "toy",
) -> FeatureIndex:
    """The index of codes (rows ascending [b], indices [b, k], values [b, k], 0 an empty slot)."""
    num, pieces = int(head.decoder.shape[0]), []
    counts = np.zeros(len(table), np.int32)
    for rows, indices, values in batches:
        found, *codes = entries_of(len(table), rows, indices, values)
        counts += found
        pieces.append(codes)
    features, values = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    codes = Codes(num, [(counts, features, values)])
    tokens = table.save(out.parent)
    with atomic_folder(out) as folder:
        made_from = {"dictionary": name, "inputs": "0"}
        finish_index(folder, codes, table, tokens, head, options or IndexOptions(), made_from)
    return FeatureIndex.open(out)
