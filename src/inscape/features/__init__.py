"""The feature index: where each feature fires, how, on what, and what it writes."""

from inscape.features.activity import Activity, PromptActivity, prompt_activity
from inscape.features.auroc import auroc_interval, aurocs
from inscape.features.build import build_index, build_indexes
from inscape.features.compact import Compact, compact_index
from inscape.features.differences import Difference, differences
from inscape.features.examples import Example
from inscape.features.index import FeatureIndex
from inscape.features.pooling import Pooled, PooledTexts, pool_texts
from inscape.features.prompts import Reference, search_prompt
from inscape.features.search import Hit
from inscape.features.table import TokenTable
from inscape.features.writer import IndexOptions

__all__ = [
    "Activity",
    "Compact",
    "Difference",
    "Example",
    "FeatureIndex",
    "Hit",
    "IndexOptions",
    "Pooled",
    "PooledTexts",
    "PromptActivity",
    "Reference",
    "TokenTable",
    "auroc_interval",
    "aurocs",
    "build_index",
    "build_indexes",
    "compact_index",
    "differences",
    "pool_texts",
    "prompt_activity",
    "search_prompt",
]
