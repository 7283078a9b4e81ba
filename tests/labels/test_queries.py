"""The everyday queries by which search is measured (`python -m benchmarks.atlas atlas-search`)."""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).parent


def test_the_queries_to_tune_on_are_kept_apart() -> None:
    judged, tuned = (
        json.loads((FOLDER / f"{name}.json").read_text()) for name in ("queries", "queries_tuning")
    )
    assert (len(judged), len(tuned)) == (60, 20)
    assert not judged.keys() & tuned.keys()
    texts = []
    for query, of in (*judged.items(), *tuned.items()):
        assert 6 <= len(of["matching"]) == len(of["distracting"]) <= 10, query
        own = [*of["matching"], *of["distracting"]]
        assert len(set(own)) == len(own), query
        texts += own if query in tuned else []
    known = {text for of in judged.values() for text in (*of["matching"], *of["distracting"])}
    assert not known & set(texts)
