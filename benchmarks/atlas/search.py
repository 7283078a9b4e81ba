"""Everyday queries: is a feature that tells their texts from others among the first five found?

The queries and their texts (tests/labels/queries.json) were written before the search; what was
tuned was tuned on the twenty of queries_tuning.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import Absent, Measurement, Run
from inscape import Atlas
from inscape.core import Share
from inscape.features import aurocs, pool_texts
from inscape_microworld.benchmark import Check, Row

QUERIES = Path(__file__).resolve().parents[2] / "tests" / "labels" / "queries.json"
VARIABLE = "INSCAPE_ATLAS"
FIRST, ENOUGH = 5, 0.85


def opened() -> Atlas:
    """The atlas that the environment names."""
    place = os.environ.get(VARIABLE)
    if not place:
        raise Absent(f"{VARIABLE} names no atlas of SmolLM2")
    return Atlas.open(place)


def everyday(run: Run) -> Row:
    """Of 60 queries, those of whose first five features one has an AUROC of 0.85 on the query's
    texts; beside it the same with the features found for another query."""
    atlas = opened()
    queries = json.loads(QUERIES.read_text())
    names = [name for name in atlas.indexed_names if not name.startswith("mlp_act")]
    told = _told(atlas, names, queries)
    found = {
        query: [hit.id for hit in atlas.search(query, names=names, limit=FIRST)]
        for query in queries
    }
    order = list(queries)
    other = dict(zip(order, np.roll(order, len(order) // 2).tolist(), strict=True))
    best = {q: max((told[q](id) for id in found[q]), default=0.5) for q in queries}
    control = {q: max((told[q](id) for id in found[other[q]]), default=0.5) for q in queries}
    for query, value in sorted(best.items(), key=lambda one: one[1]):
        print(f"{value:.2f}  {query}: {', '.join(found[query])}", file=sys.stderr)
    share = Share(sum(value >= ENOUGH for value in best.values()), len(queries))
    of_others = Share(sum(value >= ENOUGH for value in control.values()), len(queries))
    return Row(
        "atlas-search",
        f"everyday queries, a feature of AUROC ≥ {ENOUGH} on their texts among the first {FIRST}",
        (Check("share of the queries", share.value, "≥ 0.75", share.interval),),
        f"{len(queries)} queries, eight matching and eight distracting texts each, "
        f"{', '.join(names)}",
        detail={
            "with the features of another query": of_others.value,
            "not found": [query for query, value in best.items() if value < ENOUGH],
        },
    )


def _told(
    atlas: Atlas, names: list[str], queries: Mapping[str, Mapping[str, list[str]]]
) -> dict[str, Callable[[str], float]]:
    """Of each query, a feature's AUROC on its texts, by the better of maximum and mean."""
    texts = [text for q in queries.values() for text in (*q["matching"], *q["distracting"])]
    pooled = pool_texts(atlas.model, texts, [atlas.dictionary(name) for name in names])
    start, found = 0, {}
    for query, of in queries.items():
        stop = start + len(of["matching"]) + len(of["distracting"])
        rows, positive = np.arange(start, stop), np.arange(stop - start) < len(of["matching"])
        start = stop

        def judge(
            id: str, rows: NDArray[np.int64] = rows, positive: NDArray[np.bool_] = positive
        ) -> float:
            name, _, feature = id.rpartition("/")
            table = pooled.dictionaries[name]
            columns = [table.values(p, rows, [int(feature)])[:, 0] for p in ("max", "mean")]
            return float(aurocs(np.stack(columns, axis=1), positive).max())

        found[query] = judge
    return found


FIGURES = {"atlas-search": Measurement(everyday, seeded=False)}
