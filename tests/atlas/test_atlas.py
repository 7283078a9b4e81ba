"""The atlas's folder: what it refuses, and what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.families import tiny

from inscape.atlas import Atlas, BuildConfig, build, default_sites, settings_of
from inscape.core import InputError, ModelError, StorageError
from inscape.model import Model
from inscape.storage import lock

SMALL = BuildConfig(expansion=2, k=4, transcoder_k=4, context=25, train_tokens=2048, batch_size=512)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny")


def make(folder: Path, model: Model) -> Atlas:
    return Atlas.create(folder, model, "nowhere", residual="resid1", settings=SMALL.model_dump())


def test_an_atlas_knows_its_model(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    found = Atlas.open(tmp_path / "a", model=model)
    assert found.record == made.record
    assert found.model is model
    assert (found.residual, found.dictionary_names) == ("resid1", [])
    assert settings_of(found) == SMALL
    other = Model.wrap(tiny("llama", seed=1), name="other")
    with pytest.raises(ModelError, match="other is not the one that .* was made from"):
        Atlas.open(tmp_path / "a", model=other)
    with pytest.raises(ModelError, match="nowhere"):
        _ = Atlas.open(tmp_path / "a").model


def test_an_atlas_is_made_in_a_free_place_only(tmp_path: Path, model: Model) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already and is no atlas"):
        make(tmp_path, model)
    with pytest.raises(InputError, match="is there already and is no atlas"):
        make(tmp_path / "note.txt", model)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", model)


def test_a_damaged_record_is_told(tmp_path: Path, model: Model) -> None:
    make(tmp_path / "a", model)
    record = tmp_path / "a" / "atlas.json"
    content = json.loads(record.read_text())
    del content["residual"]
    record.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="does not describe an atlas"):
        Atlas.open(tmp_path / "a")
    record.write_text(record.read_text()[:40])
    with pytest.raises(StorageError, match="half-written"):
        Atlas.open(tmp_path / "a")


def test_what_is_not_there_yet_is_named(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    with pytest.raises(InputError, match=r"no dictionary 'mlp0'.*none yet.*train it first"):
        made.dictionary("mlp0")
    with pytest.raises(StorageError, match="feature-index"):
        made.index("resid1")
    assert made.labels("resid1") is None
    assert made.feature_label("resid1", 3) is None
    assert made.transcoders() == {}


def test_results_of_one_title_and_key_share_a_file(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    first = made.save_result("traces", "Où est-ce?", {"x": float("nan")})
    assert json.loads(first.read_text()) == {"x": None}
    assert made.save_result("traces", "Où est-ce?", {"x": 2}) == first
    assert made.save_result("traces", "Où est-ce?", {"x": 3}, key="other") != first
    assert made.save_result("traces", "Où est ce", {"x": 3}) != first
    assert len(list((tmp_path / "a" / "traces").iterdir())) == 3


def test_the_middle_layer_and_every_mlp_are_read_by_default(model: Model) -> None:
    mlps = [f"{kind}.{layer}" for layer in range(3) for kind in ("mlp_in", "mlp_out")]
    assert default_sites(model) == ["resid_post.1", *mlps]


def test_a_second_writer_is_refused(tmp_path: Path, model: Model) -> None:
    make(tmp_path / "a", model)
    with lock(tmp_path / "a"), pytest.raises(StorageError, match="is being written by process"):
        build(model, tmp_path, tmp_path / "a")


@pytest.mark.parametrize("wrong", [{"expansion": 0}, {"k": -1}, {"widht": 3}, {"layer": -1}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BuildConfig(**wrong)  # type: ignore[arg-type]
