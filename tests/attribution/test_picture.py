"""A prompt with a picture: traced, steered and searched as one of text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.attribution.random_transcoders import random_transcoders
from tests.families import tiny_tokenizer
from tests.model.test_images import PATCHES, PREPROCESSING, picture, with_eyes

from inscape.attribution import trace
from inscape.intervention import DirectionEdit, steer
from inscape.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(with_eyes(), tiny_tokenizer(), preprocessing=PREPROCESSING)


def test_a_picture_is_traced(model: Model, tmp_path: Path) -> None:
    """Its patches are tokens like others: with them, what enters a node adds up to its value."""
    prompt = model.prompt("the cat", image=picture())
    graph = trace(model, prompt, random_transcoders(model), target=" sat")
    assert graph.prompt_tokens[1 : 1 + PATCHES] == ["<299>"] * PATCHES
    patches = {n.position for n in graph.nodes if n.kind == "feature"}
    assert patches >= set(range(1, 1 + PATCHES))
    (target,) = graph.targets
    node = graph.nodes[target]
    assert node.bias + sum(w for _, w in graph.inputs(target)) == pytest.approx(
        node.activation, abs=1e-3
    )
    other = trace(model, model.prompt("the cat", image=picture(1)), random_transcoders(model))
    assert other.nodes[0].activation != graph.nodes[0].activation


def test_a_picture_is_steered(model: Model) -> None:
    direction = model.unembedding()[70]
    prompt = model.prompt("the cat", image=picture())
    found = steer(model, prompt, [DirectionEdit("resid_post.2", direction, 50.0)], 3)
    assert found.changed
    assert found.steered_loss is not None
    assert found.plain_loss is not None
    assert found.steered_loss > found.plain_loss
