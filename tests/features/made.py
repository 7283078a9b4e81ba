"""An index made from codes that a test chooses, without a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inscape.features import FeatureIndex, IndexOptions, TokenTable
from inscape.features.logits import HeadInputs
from inscape.features.sparse import Spill
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
    tokens = table.save(out.parent)
    with atomic_folder(out) as folder, Spill(folder, int(head.decoder.shape[0])) as spill:
        for rows, indices, values in batches:
            spill.add(rows, indices, values)
        made_from = {"dictionary": name, "inputs": "0"}
        finish_index(folder, spill, table, tokens, head, options or IndexOptions(), made_from)
    return FeatureIndex.open(out)
