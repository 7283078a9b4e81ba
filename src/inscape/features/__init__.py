"""The feature index: where each feature fires, how, on what, and what it writes."""

from inscape.features.auroc import auroc_interval, aurocs
from inscape.features.build import build_index, build_indexes
from inscape.features.examples import Example
from inscape.features.index import FeatureIndex
from inscape.features.pooling import Pooled, PooledTexts, pool_texts
from inscape.features.search import Hit, search_prompt
from inscape.features.table import TokenTable
from inscape.features.writer import IndexOptions

__all__ = [
    "Example",
    "FeatureIndex",
    "Hit",
    "IndexOptions",
    "Pooled",
    "PooledTexts",
    "TokenTable",
    "auroc_interval",
    "aurocs",
    "build_index",
    "build_indexes",
    "pool_texts",
    "search_prompt",
]
