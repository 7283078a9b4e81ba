"""The feature index: where each feature fires, how, on what, and what it writes."""

from inscape.features.build import build_index, build_indexes
from inscape.features.examples import Example
from inscape.features.index import FeatureIndex
from inscape.features.search import Hit, search_prompt
from inscape.features.table import TokenTable
from inscape.features.texts import Difference, Pooled, aurocs, differences, pooled
from inscape.features.writer import IndexOptions

__all__ = [
    "Difference",
    "Example",
    "FeatureIndex",
    "Hit",
    "IndexOptions",
    "Pooled",
    "TokenTable",
    "aurocs",
    "build_index",
    "build_indexes",
    "differences",
    "pooled",
    "search_prompt",
]
