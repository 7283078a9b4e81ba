"""Scores of graphs over prompts."""

from __future__ import annotations

import numpy as np
import pytest
from tests.attribution.random_transcoders import random_dictionary
from tests.families import tiny, tiny_tokenizer

from inscape.attribution import GraphScores, score_graphs, trace
from inscape.core import InputError
from inscape.model import Model

PROMPTS = [" the cat sat", " a dog", " on the zebra", " the boat sat on"]


@pytest.fixture(scope="module")
def model() -> Model:
    tokenizer = tiny_tokenizer()
    return Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer)


def test_scores_are_means_over_prompts(model: Model) -> None:
    site = "resid_post.1"
    made = [random_dictionary(site, site, d=model.d_model)]
    found = score_graphs(model, PROMPTS, made, verified=6)
    graphs = [trace(model, prompt, made, verified=6) for prompt in PROMPTS]
    for name in ("replacement", "completeness", "unknown"):
        values = [getattr(graph.scores, name) for graph in graphs]
        mean = getattr(found, name)
        assert mean.value == pytest.approx(np.mean(values))
        assert min(values) <= mean.low <= mean.value <= mean.high <= max(values)
    tested = [graph.verification for graph in graphs]
    assert found.holds.count == sum(one is not None and one.holds for one in tested)
    assert found.holds.total == len(PROMPTS)
    assert found.dictionaries == [made[0].name]
    assert GraphScores.from_json(found.to_json()) == found
    assert "graphs of 4 prompts through" in found.summary()


def test_without_a_verification_nothing_is_said_of_it(model: Model) -> None:
    found = score_graphs(model, PROMPTS[:2], verified=0)
    assert found.agreement is None
    assert found.holds.total == 0
    assert "neurons alone" in found.summary()


def test_no_prompts_are_refused(model: Model) -> None:
    with pytest.raises(InputError, match="no prompts"):
        score_graphs(model, [])
