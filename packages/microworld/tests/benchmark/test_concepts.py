"""Named features: what fires on a concept is found in the dictionary that has it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from inscape.core import DataError
from inscape_microworld import corpus, open_model, token_truth
from inscape_microworld.benchmark.concepts import named_features
from inscape_microworld.truth import Truth

CONCEPTS = {"dna": "DNA sequences", "deception": "deception"}


@dataclass
class MadeIndex:
    """As much of an index as is read: rows of the features' activations, one value each."""

    tokens: SimpleNamespace
    fired: list[np.ndarray]

    def __post_init__(self) -> None:
        self.positions = np.concatenate(self.fired)
        self.indptr = np.concatenate([[0], np.cumsum([len(rows) for rows in self.fired])])
        self.num_active = np.diff(self.indptr)
        self.num_features = len(self.fired)

    def rows_of(self, feature: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.fired[feature]
        return rows, np.ones(len(rows), np.float32)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return token_truth(open_model().tokenizer, corpus(6000))[1]


def index(truth: Truth, *fired: np.ndarray) -> MadeIndex:
    lengths = np.diff([*truth.starts, truth.num_tokens])
    documents = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(truth.num_tokens) - truth.starts[documents]
    return MadeIndex(SimpleNamespace(documents=documents, positions=positions), list(fired))


def test_each_concept_is_found_in_the_dictionary_that_has_it(truth: Truth) -> None:
    noise = np.random.default_rng(0).permutation(truth.num_tokens)[:400]
    dna, lies = (np.flatnonzero(truth.span_mask(name)) for name in CONCEPTS)
    half = lies[: len(lies) // 2]
    found = named_features(
        {"one": index(truth, noise, half), "two": index(truth, lies, noise, dna)}, truth, CONCEPTS
    )
    assert [(c.name, c.dictionary, c.match.feature) for c in found] == [
        ("dna", "two", 2),
        ("deception", "two", 0),
    ]
    assert all(c.match.f1 == c.match.auroc == 1 for c in found)
    assert all(c.match.num_positives > 5 for c in found)
    assert found[0].to_json()["dictionary"] == "two"


def test_what_fires_after_a_mention_counts_neither_way(truth: Truth) -> None:
    span, scope = truth.span_mask("deception"), truth.scope_mask("deception")
    later = np.flatnonzero(scope & ~span)
    both = np.sort(np.concatenate([np.flatnonzero(span), later]))
    (found,) = named_features({"d": index(truth, both)}, truth, {"deception": "deception"})
    assert found.match.precision == 1
    (found,) = named_features({"d": index(truth, later)}, truth, {"deception": "deception"})
    assert found.match.recall == 0


def test_an_index_of_other_documents_is_refused(truth: Truth) -> None:
    other = index(truth, np.arange(5))
    other.tokens.documents = other.tokens.documents + 1
    with pytest.raises(DataError, match="truth"):
        named_features({"d": other}, truth, CONCEPTS)  # type: ignore[dict-item]
