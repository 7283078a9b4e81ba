"""Dictionaries of several sites in an atlas: indexed, labelled, steered with, validated, traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import tiny, tiny_tokenizer
from tests.intervention.test_several import LAYERS, clt, crosscoder

from inscape.atlas import Atlas
from inscape.atlas.container import FILE
from inscape.atlas.steps import index_atlas
from inscape.model import Model
from inscape.storage import read_json, write_json


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer, name="tiny")
    folder = tmp_path_factory.mktemp("several")
    words = "the cat sat on the mat; the dog sat in Paris".split()
    draw = np.random.default_rng(1)
    documents = [" ".join(draw.choice(words, 12)) for _ in range(40)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    made = Atlas.create(folder / "atlas", model, source="nowhere")
    made.add(clt(), crosscoder())
    made.index(text=folder / "text.txt")
    made.label()
    return made


def test_they_are_indexed_and_labelled(atlas: Atlas) -> None:
    assert atlas.dictionary_names == ["clt.0-2", "crosscoder.0-2"]
    for name in atlas.dictionary_names:
        index, one = atlas.features(name), atlas.dictionary(name)
        feature = int(index.num_active.argmax())
        rows, values = index.rows_of(feature)
        ids = [int(i) for i in index.tokens.ids]
        documents, positions = index.tokens.documents, index.tokens.positions
        at = int(rows[0])
        whole = [ids[n] for n in range(len(ids)) if documents[n] == documents[at]]
        run = atlas.model.run(torch.tensor([whole]), read=one.reads)
        code = one.encode(one.concat_sites({site: run[site][0] for site in one.reads}))
        wanted = float(code.of(feature)[int(positions[at])])
        assert float(values[0]) == pytest.approx(wanted, rel=0.02)  # stored in half precision
        assert len(index.promoted(feature)) > 0
        labels = atlas.labels(name)
        assert labels is not None
        assert labels.get(feature) is not None


def test_they_are_steered_with_and_validated(atlas: Atlas, tmp_path: Path) -> None:
    for name in atlas.dictionary_names:
        feature = int(atlas.features(name).max.argmax())
        assert atlas.feature(f"{name}/{feature}").max
        found = atlas.steer(" the cat", {f"{name}/{feature}": 30.0}, max_new_tokens=4)
        assert found.changed
    text = tmp_path / "text.txt"
    text.write_text("the dog sat on the cat\n\nthe mat sat in Paris")
    for figures in atlas.validate(text, max_tokens=60, save=False):
        assert figures.fidelity.fvu > 0
        assert figures.fidelity.l0 > 1


def test_the_transcoder_is_traced(atlas: Atlas) -> None:
    traced = atlas.transcoders()
    assert list(traced) == list(range(LAYERS))
    assert {id(one) for one in traced.values()} == {id(atlas.dictionary("clt.0-2"))}
    graph = atlas.trace(" the cat sat on", save=False)
    features = [node for node in graph.nodes if node.kind == "feature"]
    assert {node.dictionary for node in features} == {"clt.0-2"}
    assert {node.layer for node in features} == set(range(LAYERS))


def test_the_features_of_a_prompt_are_looked_at(atlas: Atlas) -> None:
    for name in atlas.dictionary_names:
        one = atlas.dictionary(name)
        found = atlas.model.features(" the cat sat", one)
        prompt = atlas.model.prompt(" the cat sat")
        run = atlas.model.run(prompt, read=one.reads)
        code = one.encode(one.concat_sites({site: run[site][0] for site in one.reads}))
        assert found.tokens == prompt.texts
        feature, value, position = found.top(1)[0]
        assert position > 0  # the beginning of text does not count
        assert value == float(code.of(feature)[position]) == float(code.values[1:].max())


def test_what_another_wrote_meanwhile_is_kept(tmp_path: Path) -> None:
    """Two processes have one atlas open: neither undoes the other's entries of atlas.json."""
    model = Model.wrap(tiny("llama"), name="tiny")
    first = Atlas.create(tmp_path / "atlas", model, source="nowhere")
    second = Atlas.open(tmp_path / "atlas", model=model)
    with second.writing():
        second.record["labels"] = {"mlp.0": "somebody"}
        write_json(second.path / FILE, second.record)
    documents = [[5, 6, 7, 8] * 5, [9, 10, 11] * 6]
    first.add(clt())
    with first.writing():
        index_atlas(first, text=documents)  # type: ignore[arg-type]
    found = read_json(tmp_path / "atlas" / FILE)
    assert found["labels"] == {"mlp.0": "somebody"}
    assert found["model"]["median_norms"]
