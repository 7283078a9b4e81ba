"""The file in which the published viewer looks up a feature: examples, logits, histogram.

1. Examples are the strongest ones, then those of each interval of strength from the strongest down,
   as the index holds them.
2. The histogram has even bars from 0 to the largest activation; quantile_values are percentiles 1
   to 100. Both are of all activations where the index holds these, else of its own histogram, whose
   bins are half octaves within which activations count as evenly spread.
3. A feature that is not indexed gets a file without examples, so that the page can open it.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.attribution.data import Node, address
from inscape.attribution.viewer import GENERATOR
from inscape.core import InputError, with_signs
from inscape.features import Example, FeatureIndex

NUM_TOKENS = 10  # that a feature raises, and lowers
NUM_BARS = 50
Floats = NDArray[np.float64]


def feature_file(node: Node, index: FeatureIndex | None = None) -> dict[str, Any]:
    """What the viewer shows of a node's feature, from the index of its dictionary."""
    feature = node.feature
    found: dict[str, Any] = {
        "index": feature,
        "transcoder_id": node.dictionary or "",
        "name": address(node),
        "generator": dict(GENERATOR),
        "examples_quantiles": [],
    }
    if index is None or not 0 <= feature < index.num_features:
        return found
    found["examples_quantiles"] = _quantiles(index.examples(feature))
    found["top_logits"] = [token for token, _ in index.promoted(feature)[:NUM_TOKENS]]
    found["bottom_logits"] = [token for token, _ in index.suppressed(feature)[:NUM_TOKENS]]
    found["activation_frequency"] = float(index.density[feature])
    largest = float(index.max[feature])
    if largest > 0:
        found |= {"act_min": 0.0, "act_max": largest} | _distribution(index, feature, largest)
    return found


def _quantiles(examples: list[Example]) -> list[dict[str, Any]]:
    """The examples by strength, the strongest first, under names of the intervals."""
    examples = sorted(examples, key=lambda e: -np.inf if e.quantile is None else -e.quantile)
    num = max((e.quantile + 1 for e in examples if e.quantile is not None), default=0)
    seen: set[int] = set()
    found = []
    for quantile, group in groupby(examples, key=lambda e: e.quantile):
        name = "Strongest"
        if quantile is not None:
            name = f"From {quantile / num:.0%} to {(quantile + 1) / num:.0%} of the strongest"
        found.append({"quantile_name": name, "examples": [_example(e, seen) for e in group]})
    return found


def _example(example: Example, seen: set[int]) -> dict[str, Any]:
    repeated = example.row in seen
    seen.add(example.row)
    return {
        "tokens": [with_signs(token) for token in example.tokens],
        "tokens_acts_list": [float(value) for value in example.values],
        "train_token_ind": example.shown_peak,
        "is_repeated_datapoint": repeated,
    }


def _distribution(index: FeatureIndex, feature: int, largest: float) -> dict[str, Any]:
    """Histogram and percentiles; nothing where the index was shared without its histogram."""
    try:
        values, below = _cumulative(index, feature, largest)
    except InputError:
        return {}
    bars = np.interp(np.linspace(0.0, largest, NUM_BARS + 1), values, below, left=0.0)
    percentiles = np.interp(below[-1] * np.arange(1, 101) / 100, below, values)
    return {"histogram": _short(np.diff(bars)), "quantile_values": _short(percentiles)}


def _short(values: Floats) -> list[float]:
    """Numbers to draw with: four figures are enough."""
    return [float(f"{value:.4g}") for value in values]


def _cumulative(index: FeatureIndex, feature: int, largest: float) -> tuple[Floats, Floats]:
    """Activations, ascending, and how many are at most as large."""
    if index.has_activations:
        values = np.sort(index.rows_of(feature)[1]).astype(np.float64)
        return values, np.arange(1, values.size + 1, dtype=np.float64)
    edges = np.minimum(index.histogram_edges, largest)
    counts = index.histogram[feature].astype(np.float64)
    return edges, np.concatenate([[0.0], np.cumsum(counts)])
