"""k-sparse probing of a dictionary whose features are tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.validation.test_concepts import FRAMES, dictionary, model

from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation import read_concepts, sparse_probing

__all__ = ["dictionary", "model"]


def test_one_feature_suffices_for_one_token_and_several_for_several(
    model: Model, dictionary: Dictionary, tmp_path: Path
) -> None:
    frames = json.dumps([*FRAMES, "{}!", "in {} sat", "the {};", "{} on the mat"])
    path = tmp_path / "c.toml"
    path.write_text(
        f"""
        [[concept]]
        name = "one"
        frames = {frames}
        matching = [" cat"]
        distracting = [" z", " q", " x"]

        [[concept]]
        name = "three"
        frames = {frames}
        matching = [" cat", " dog", " k"]
        distracting = [" z", " q", " x"]
        """
    )
    found = sparse_probing(model, [dictionary], read_concepts(path), source="c.toml")["tokens"]
    one, three = found.concepts
    assert one.num_texts == len(FRAMES) + 4  # half of them match: distracting ones are drawn
    assert one.features == {1: 1.0, 5: 1.0}
    assert three.features[1] < three.features[5] == 1
    assert 0.5 <= one.channels[1] <= 1
    assert found.mean(1) == pytest.approx((1 + three.features[1]) / 2)
