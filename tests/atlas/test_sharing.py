"""An atlas for others: for the Hugging Face hub, and for Neuronpedia."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.attribution.random_transcoders import random_dictionary
from tests.families import tiny, tiny_tokenizer

from inscape.activations import harvest
from inscape.atlas import Atlas, Quality
from inscape.core import InputError, InscapeWarning
from inscape.features import build_index
from inscape.intervention import SteerResult
from inscape.labels.published import read_published
from inscape.model import Model

NAME = "resid_post.1"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(), name="Tiny Llama")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Atlas:
    """An atlas of two dictionaries, one of them indexed, labelled and measured, and neurons."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("private")
    endings = [f"{one} {other}" for one in "abcdef" for other in "uvwxyz"]
    documents = [f"the cat sat on the mat {e}; the dog sat in Paris {e[::-1]}" for e in endings]
    (folder / "text.txt").write_text("\n\n".join(documents))
    made = Atlas.create(folder / "a", model, source=str(folder / "model"))
    first = random_dictionary(NAME, NAME, d=32)
    first.made_from = {"source": str(folder / "sae"), "training": {"lr": 0.1}}
    made.add(first, random_dictionary("mlp_in.1", "mlp_out.1", d=32, kind="threshold"))
    sites = [NAME, "mlp_act.1"]
    store = harvest(model, folder / "text.txt", sites, folder / "store")
    for name in sites:
        build_index(model, made.dictionary(name), store, made.place("features", name))
    made.label([NAME])
    made.validate(folder / "text.txt", [NAME], max_tokens=300)
    made.save(SteerResult("A private prompt", " a", " b", [1], [2], 2.5, None))
    return made


@pytest.fixture(scope="module")
def shared(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "shared"
    return atlas.export("huggingface", out, licence="apache-2.0", base_model="me/tiny")


def test_neurons_beside_a_dictionary_are_looked_through_by_name(atlas: Atlas) -> None:
    assert atlas.shown_names == [NAME]
    with pytest.warns(InscapeWarning, match=r"not searched: mlp\.1;"):
        found = atlas.search("cat")
    assert {hit.id.rpartition("/")[0] for hit in found} == {NAME}
    neurons = atlas.search("cat", names=["mlp_act.1"])
    assert {hit.id.rpartition("/")[0] for hit in neurons} == {"mlp_act.1"}


def test_the_shared_folder_is_an_atlas(atlas: Atlas, shared: Path, model: Model) -> None:
    found = Atlas.open(shared, model=model)
    assert found.dictionary_names == atlas.dictionary_names
    assert found.indexed_names == atlas.indexed_names
    assert found.features(NAME).examples(3) == atlas.features(NAME).examples(3)
    assert not found.features(NAME).has_activations
    whole = atlas.export("huggingface", shared.parent / "whole", [NAME], activations=True)
    rows = Atlas.open(whole).features(NAME).rows_of(3)[0]
    assert rows.tolist() == atlas.features(NAME).rows_of(3)[0].tolist()
    ours, theirs = atlas.labels(NAME), found.labels(NAME)
    assert ours is not None
    assert theirs is not None
    assert [label.text for label in theirs] == [label.text for label in ours]
    assert [one.dictionary for one in found.qualities] == [NAME]
    first, again = atlas.dictionary(NAME), found.dictionary(NAME)
    assert torch.allclose(first.W_dec, again.W_dec, atol=0.01, rtol=0.01)
    assert again.made_from == {"source": "sae", "training": {"lr": 0.1}}


def test_nothing_private_is_shared(atlas: Atlas, shared: Path) -> None:
    texts = {
        path: path.read_text() for path in shared.rglob("*") if path.suffix in (".json", ".md")
    }
    assert len(texts) > 6
    private = str(atlas.path.parent)
    assert [
        path for path, text in texts.items() if private in text or "private prompt" in text
    ] == []
    assert not list(shared.rglob(".lock"))
    assert not (shared / "steering").exists()


def test_the_card_has_a_head_that_the_hub_reads(shared: Path) -> None:
    _, head, body = (shared / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "apache-2.0",
        "base_model": ["me/tiny"],
        "library_name": "inscape",
        "tags": ["interpretability", "sparse-autoencoder", "dictionary-learning"],
    }
    for part in ("Opening it", "Dictionaries", "Labels", "Made from", "Limits", "Licence"):
        assert f"\n## {part}\n" in body
    assert "# Features of Tiny Llama" in body
    assert "text.txt" in body
    row = next(line for line in body.splitlines() if line.startswith(f"| `{NAME}` | {NAME}"))
    assert len(row.split("|")) == 10
    assert "offline" in body


def test_the_card_states_the_figures_that_were_measured(
    atlas: Atlas, shared: Path, model: Model
) -> None:
    (figures,) = (one for one in atlas.qualities if one.dictionary == NAME)
    assert isinstance(figures, Quality)
    text = (shared / "README.md").read_text()
    assert f"{figures.fidelity.fvu:.3f}" in text
    labels = atlas.labels(NAME)
    assert labels is not None
    assert f"{labels.summary['num_labelled'] / 64:.0%}" in text.replace("nan", "")


def test_a_card_without_licence_or_hub_model(atlas: Atlas, tmp_path: Path) -> None:
    atlas.export("huggingface", tmp_path / "x", [NAME], weights="int8")
    _, head, body = (tmp_path / "x" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head).keys() == {"library_name", "tags"}
    assert "None is stated" in body
    assert "stored in int8" in body
    record = json.loads((tmp_path / "x" / "atlas.json").read_text())
    assert record["model"]["source"] == "model"
    assert not (tmp_path / "x" / "features" / "mlp_act.1").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"licence": "My Licence\n"}, "licence 'My Licence"),
        ({"base_model": "tiny"}, "model 'tiny'"),
        ({"weights": "int4"}, "int4"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: Any, said: str, atlas: Atlas, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        atlas.export("huggingface", tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_nothing_is_written_over(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for to in ("huggingface", "neuronpedia"):
        with pytest.raises(InputError, match="is there already"):
            atlas.export(to, tmp_path)
    with pytest.raises(InputError, match="an atlas written to 'moon'"):
        atlas.export("moon", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# Neuronpedia


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


@pytest.fixture(scope="module")
def batches(atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "exports"
    atlas.export("neuronpedia", out, [NAME])
    return out / "tiny-llama" / "1-resid-post-inscape"


def test_batches_are_in_the_layout_of_exports(atlas: Atlas, batches: Path) -> None:
    names = {path.name for path in batches.iterdir()}
    assert names == {
        *("model.jsonl", "source.jsonl", "sourceset.jsonl", "release.jsonl"),
        *("features", "activations", "explanations"),
    }
    source = json.loads((batches / "source.jsonl").read_text())
    assert (source["id"], source["modelId"]) == ("1-resid-post-inscape", "tiny-llama")
    of_set = json.loads((batches / "sourceset.jsonl").read_text())
    assert of_set["name"] == source["setName"] == "resid-post-inscape"
    index = atlas.features(NAME)
    features = rows(batches / "features" / "batch-0.jsonl.gz")
    assert [row["index"] for row in features] == [str(i) for i in range(index.num_features)]
    assert {row["layer"] for row in features} == {source["id"]}
    row = features[3]
    assert row["maxActApprox"] == pytest.approx(float(index.max[3]))
    assert row["hookName"] == "blocks.1.hook_resid_post"
    assert list(zip(row["pos_str"], row["pos_values"], strict=True)) == index.promoted(3)[:10]
    assert sum(row["freq_hist_data_bar_heights"]) == index.num_active[3]
    assert len(row["freq_hist_data_bar_heights"]) == len(row["freq_hist_data_bar_values"])


def test_activations_are_the_examples(atlas: Atlas, batches: Path) -> None:
    index = atlas.features(NAME)
    feature = int(index.num_active.argmax())
    found = rows(batches / "activations" / "batch-0.jsonl.gz")
    mine = [row for row in found if row["index"] == str(feature)]
    examples = index.examples(feature)
    assert [row["tokens"] for row in mine] == [list(e.tokens) for e in examples]
    for row, example in zip(mine, examples, strict=True):
        assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"])
        if example.quantile is None:
            assert row["binMin"] == row["binMax"] == -1
        else:
            assert row["binMin"] <= example.value <= row["binMax"] * (1 + 1e-6)
    shares = {row["binMin"]: row["binContains"] for row in mine if row["binMin"] >= 0}
    assert 0 < sum(shares.values()) <= 1 + 1e-9
    assert len({row["id"] for row in found}) == len(found)


def test_explanations_are_read_back(atlas: Atlas, batches: Path) -> None:
    labels = atlas.labels(NAME)
    assert labels is not None
    named = {label.feature: label.name for label in labels if label.name}
    assert named
    found = read_published(batches)
    assert found.texts == named
    assert found.about == "tiny-llama/1-resid-post-inscape"


def test_the_same_export_is_the_same_bytes(atlas: Atlas, batches: Path, tmp_path: Path) -> None:
    atlas.export("neuronpedia", tmp_path / "again")
    again = tmp_path / "again" / "tiny-llama"
    assert {path.name for path in again.iterdir()} == {batches.name, "1-mlp-act-inscape"}
    for kind in ("features", "activations", "explanations"):
        name = Path(kind) / "batch-0.jsonl.gz"
        assert (again / batches.name / name).read_bytes() == (batches / name).read_bytes()


def test_many_features_are_several_batches(
    atlas: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inscape.atlas.neuronpedia.BATCH", 10)
    atlas.export("neuronpedia", tmp_path / "x", [NAME])
    folder = tmp_path / "x" / "tiny-llama" / "1-resid-post-inscape"
    files = sorted((folder / "features").iterdir(), key=lambda path: (len(path.name), path.name))
    indices = [int(row["index"]) for file in files for row in rows(file)]
    assert indices == list(range(atlas.features(NAME).num_features))
    assert len(files) == -(-len(indices) // 10)
    labels = atlas.labels(NAME)
    assert labels is not None
    assert len(read_published(folder).texts) == sum(bool(label.name) for label in labels)


def test_a_damaged_figure_does_not_stop_the_export(atlas: Atlas, tmp_path: Path) -> None:
    mine = shutil.copytree(atlas.path, tmp_path / "a")
    (mine / "quality" / "broken.json").write_text("{")
    Atlas.open(mine).export("huggingface", tmp_path / "x", [NAME])
    assert len(list((tmp_path / "x" / "quality").iterdir())) == 1


def test_a_compact_copy_is_small_and_may_show_examples_of_another_text(
    atlas: Atlas, model: Model, tmp_path: Path
) -> None:
    own = Atlas.create(tmp_path / "own", model)
    own.add(*(atlas.dictionary(name) for name in atlas.dictionary_names))
    other = [f"a cat that is mine {one} sat" for one in "abcdef"]
    (tmp_path / "own.txt").write_text("\n\n".join(other))
    own.index([NAME, "mlp_act.1"], text=tmp_path / "own.txt")
    options = {"compact": True, "weights": "int8"}
    made = Atlas.open(atlas.export("huggingface", tmp_path / "a", **options), model=model)
    plain = Atlas.open(atlas.export("huggingface", tmp_path / "b", weights="int8"), model=model)
    size, whole = (
        sum(p.stat().st_size for p in one.path.rglob("*") if p.is_file()) for one in (made, plain)
    )
    assert size < whole
    found, before = made.features(NAME), atlas.features(NAME)
    feature = int(before.num_active.argmax())
    assert found.top(feature) == before.top(feature)[:6]
    assert made.features("mlp_act.1").top(0) == atlas.features("mlp_act.1").top(0)[:1]
    assert [label.text for label in made.labels(NAME) or []] == [
        label.text for label in atlas.labels(NAME) or []
    ]
    assert made.search("cat", names=[NAME])
    shown = Atlas.open(
        atlas.export("huggingface", tmp_path / "c", [NAME], **options, examples=own), model=model
    )
    index = shown.features(NAME)
    assert index.num_considered == before.num_considered
    assert all("mine" in e.text or "cat" in e.text for e in index.top(feature))
    assert "mat" not in "".join(e.text for f in range(index.num_features) for e in index.top(f))
    with pytest.raises(InputError, match="compact copy with every activation"):
        atlas.export("huggingface", tmp_path / "d", compact=True, activations=True)
    with pytest.raises(InputError, match="examples of another atlas; expected compact"):
        atlas.export("huggingface", tmp_path / "d", examples=own)
