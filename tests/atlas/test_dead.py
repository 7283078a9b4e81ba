"""A dictionary none of whose features ever fires: every step says so, or says nothing, and ends."""

from __future__ import annotations

import numpy as np
import pytest
from tests.families import tiny, tiny_tokenizer
from tests.intervention.test_repair import random_dictionary

from inscape.atlas import Atlas
from inscape.model import Model

PROMPT = "the cat sat on the mat"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer, name="tiny")
    folder = tmp_path_factory.mktemp("dead")
    words = PROMPT.split()
    draw = np.random.default_rng(1)
    documents = [" ".join(draw.choice(words, 12)) for _ in range(30)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    dictionary = random_dictionary("resid_post.1")
    dictionary.weights["b_enc"].fill_(-1e6)
    made = Atlas.create(folder / "atlas", model, source="nowhere")
    made.add(dictionary)
    made.index(text=folder / "text.txt")
    return made


def test_it_is_indexed_labelled_and_laid_out(atlas: Atlas) -> None:
    (name,) = atlas.dictionary_names
    assert not atlas.features(name).num_active.any()
    atlas.label()
    labels = atlas.labels(name)
    assert labels is not None
    assert not len(labels)
    assert atlas.feature(f"{name}/0").max == 0
    assert atlas.search("cat") == []


def test_a_prompt_has_no_concepts_and_its_text_is_the_models(atlas: Atlas) -> None:
    read = atlas.concepts(PROMPT, save=False)
    assert read.deciding is None
    assert all(read.at(position) == [] for position in range(len(read.tokens)))
    text = atlas.path.parent / "text.txt"
    (found,) = atlas.validate(text, save=False)
    assert found.fidelity.l0 == 0
