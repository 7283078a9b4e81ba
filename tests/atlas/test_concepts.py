"""A prompt token by token: what is active is what the dictionary says, what is said of its
answer is what the model does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import log10
from pathlib import Path

import pytest
import torch
from tests.attribution.random_transcoders import random_dictionary
from tests.families import tiny, tiny_tokenizer

from inscape.atlas import Atlas, Concept, Concepts, Removal
from inscape.cli import main as shell
from inscape.core import DataError, InputError
from inscape.features import prompt_activity
from inscape.intervention import FeatureEdit, edits
from inscape.model import Model
from inscape.storage import Result

NAME, TEXT = "resid_post.1", "the cat sat in Paris"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    torch.manual_seed(0)
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(), name="tiny")
    folder = tmp_path_factory.mktemp("atlas")
    (folder / "text.txt").write_text("\n\n".join(["the cat sat on the mat", "the dog ran"] * 20))
    made = Atlas.create(folder / "a", model, source="nowhere")
    made.add(random_dictionary(NAME, NAME, d=32))
    made.add(random_dictionary("mlp_in.0", "mlp_out.0", d=32))
    made.index([NAME], text=folder / "text.txt")
    return made


@pytest.fixture(scope="module")
def read(atlas: Atlas) -> Concepts:
    return atlas.concepts(TEXT, names=[NAME], save=False)


def logs(atlas: Atlas, changes: Sequence[FeatureEdit] = ()) -> torch.Tensor:
    model = atlas.model
    given = model.prompt(TEXT)
    logits = model.run(given, edits=edits(model, changes), logits="last").logits
    assert logits is not None
    return logits[0, -1].log_softmax(-1)


def test_what_is_active_is_what_the_dictionary_says(atlas: Atlas, read: Concepts) -> None:
    seen = atlas.model.features(TEXT, atlas.dictionary(NAME))
    for position, counts in enumerate(seen.counted):
        found = {one.id: one.activation(position) for one in read.at(position)}
        wanted = {f"{NAME}/{f}": value for f, value in seen.at(position)} if counts else {}
        assert found == pytest.approx(wanted, rel=1e-3)
    index = atlas.features(NAME)
    for one in read.concepts:
        feature = int(one.id.rpartition("/")[2])
        assert (one.largest, one.density) == (index.max[feature], index.density[feature])
        assert one.words == tuple(index.peak_tokens(feature))


def test_the_strongest_and_rarest_come_first(read: Concepts) -> None:
    for position in range(len(read.tokens)):
        weights = [one.weight(position) for one in read.at(position)]
        assert weights == sorted(weights, reverse=True)
    one = next(o for o in read.concepts if o.largest and o.density)
    strength = one.strength(one.peak)
    assert strength is not None
    assert one.density is not None
    assert one.weight(one.peak) == pytest.approx(strength * -log10(one.density))
    assert strength <= 1
    kept = Concept("d/1", None, None, None, (), ((2, 3.0),), None, None, 0.0)
    assert (kept.strength(2), kept.weight(2), kept.activation(1)) == (None, 3.0, 0.0)


def test_an_effect_is_the_slope_of_the_answer(atlas: Atlas) -> None:
    dictionaries = {name: atlas.dictionary(name) for name in atlas.dictionary_names}
    found = prompt_activity(atlas.model, dictionaries, TEXT)
    step = 1e-3
    for name, activity in found.of.items():
        strongest = int(activity.features[abs(activity.effects).argmax()])
        total = float(activity.effects[activity.features == strongest].sum())
        less = FeatureEdit(dictionaries[name], strongest, "scale", 1 - step)
        lost = float((logs(atlas) - logs(atlas, [less]))[found.answer]) / step
        assert lost == pytest.approx(total, rel=0.05, abs=2e-3)
        assert abs(total) > 0.01


def test_removals_are_measured_in_the_model(atlas: Atlas, read: Concepts) -> None:
    assert len(read.removed) == 6
    before = logs(atlas).exp()
    for one in read.removed:
        feature = int(one.id.rpartition("/")[2])
        after = logs(atlas, [FeatureEdit(atlas.dictionary(NAME), feature, "ablate")]).exp()
        assert one.removed is not None
        token, now, then = one.removed.answers[0]
        best = int(after.argmax())
        assert token == atlas.model.token_text(best) == one.removed.answer
        assert (now, then) == pytest.approx((float(after[best]), float(before[best])), abs=1e-5)
        assert one.removed.kept == pytest.approx(float(after[before.argmax()]), abs=1e-5)
    assert read.answers[0][1] == pytest.approx(float(before.max()), abs=1e-5)
    silent = next(o.id for o in read.concepts if o.removed is None)
    more = atlas.concepts(TEXT, names=[NAME], num_removed=1, removing=[silent], save=False)
    assert {silent} < {o.id for o in more.removed}
    assert len(more.removed) == 2


def test_the_deciding_feature_is_the_one_without_which_another_answer_comes() -> None:
    def concept(id: str, answer: str, kept: float, now: float = 0.4) -> Concept:
        removal = Removal(((answer, now, 0.1), ("x", kept, 0.5)), kept)
        return Concept(id, None, None, None, (), ((0, 1.0),), 2.0, 0.1, 0.3, removal)

    few = (concept("d/1", "x", 0.1), concept("d/2", "y", 0.2), concept("d/3", "y", 0.3))
    read = Concepts("m", 2, "p", ("p",), (True,), (("x", 0.5),), few)
    assert read.deciding is few[1]
    assert [one.id for one in read.removed] == ["d/1", "d/2", "d/3"]
    better = (*few, concept("d/4", "z", 0.35, now=0.5))
    read = Concepts("m", 2, "p", ("p",), (True,), (("x", 0.5),), better)
    assert read.deciding is better[3], "it gives the new answer more"
    none = Concepts("m", 2, "p", ("p",), (True,), (("x", 0.5),), few[:1])
    assert none.deciding is None


def test_it_is_saved_and_read_again(atlas: Atlas) -> None:
    found = atlas.concepts(TEXT, per_token=2)
    assert {one.id.rpartition("/")[0] for one in found.concepts} == set(atlas.dictionary_names)
    (saved,) = atlas.prompts
    assert saved == found
    assert Concepts.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(DataError, match=r"found version 9 of inscape\.prompt"):
        Concepts.from_json({**found.to_json(), "version": 9})


def test_bad_input_is_said(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="per_token"):
        atlas.concepts(TEXT, per_token=0)
    with pytest.raises(InputError, match="prompt is empty"):
        atlas.concepts([])
    with pytest.raises(InputError, match="the prompt has no text"):
        atlas.concepts([atlas.model.bos_id])
    with pytest.raises(InputError, match="has no dictionary 'other'"):
        atlas.concepts(TEXT, names=["other"])
    empty = Atlas.create(tmp_path / "empty", atlas.model, source="nowhere")
    with pytest.raises(InputError, match="no indexed dictionary"):
        empty.concepts(TEXT)


def test_the_text_of_the_verb(atlas: Atlas, capsys: pytest.CaptureFixture[str]) -> None:
    text = atlas.concepts(TEXT, names=[NAME], save=False).summary(2)
    assert text.splitlines()[0] == TEXT
    assert "the model goes on with" in text
    assert text.count("  without ") == 6
    assert f"[{NAME}/" in text
    assert shell.main(["concepts", str(atlas.path), ""]) == 2
    assert "inscape: " in capsys.readouterr().err


def test_no_two_kinds_of_results_share_a_schema() -> None:
    kinds = [kind for kind in Result.__subclasses__() if kind.__module__.startswith("inscape.")]
    names = [kind.SCHEMA for kind in kinds]
    assert len(names) == len(set(names)) > 5
