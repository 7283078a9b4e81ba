"""The feature index: where each feature fires, how, on what, and what it writes."""

from inscape.features.build import build_index, head_inputs
from inscape.features.examples import Example
from inscape.features.index import FeatureIndex, RowCodes
from inscape.features.search import Hit
from inscape.features.select import (
    FeatureMatch,
    active_counts,
    best_features,
    best_threshold,
    document_halves,
    sparse_auroc,
)
from inscape.features.table import TokenTable
from inscape.features.writer import HeadInputs, IndexOptions, write_index

__all__ = [
    "Example",
    "FeatureIndex",
    "FeatureMatch",
    "HeadInputs",
    "Hit",
    "IndexOptions",
    "RowCodes",
    "TokenTable",
    "active_counts",
    "best_features",
    "best_threshold",
    "build_index",
    "document_halves",
    "head_inputs",
    "sparse_auroc",
    "write_index",
]
