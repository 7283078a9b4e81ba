"""The feature index: where each feature fires, how, on what, and what it writes."""

from inscape.features.build import build_index, build_indexes, head_inputs
from inscape.features.examples import Example
from inscape.features.index import FeatureIndex, RowCodes
from inscape.features.search import Hit
from inscape.features.table import TokenTable
from inscape.features.writer import HeadInputs, IndexOptions, write_index

__all__ = [
    "Example",
    "FeatureIndex",
    "HeadInputs",
    "Hit",
    "IndexOptions",
    "RowCodes",
    "TokenTable",
    "build_index",
    "build_indexes",
    "head_inputs",
    "write_index",
]
