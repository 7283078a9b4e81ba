"""The atlas's folder: what it refuses, and what it finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.attribution.random_transcoders import random_transcoders
from tests.families import tiny, tiny_tokenizer
from tests.intervention.test_several import clt

from inscape.activations import harvest
from inscape.atlas import Atlas, BuildConfig, build, default_sites, settings_of
from inscape.core import InputError, InscapeError, ModelError, SiteError, StorageError
from inscape.diagnosis import Diagnosis
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.intervention import Repair, SteerResult
from inscape.model import Model
from inscape.storage import lock

SMALL = BuildConfig(expansion=2, k=4, transcoder_k=4, context=25, train_tokens=2048, batch_size=512)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny", bos="always")


def make(folder: Path, model: Model) -> Atlas:
    return Atlas.create(folder, model, source="nowhere", settings=SMALL.model_dump())


def test_an_atlas_knows_its_model(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    found = Atlas.open(tmp_path / "a", model=model)
    assert found.record == made.record
    assert found.model is model
    assert found.dictionary_names == []
    assert settings_of(found) == SMALL
    other = Model.wrap(tiny("llama", seed=1), name="other", bos="always")
    with pytest.raises(ModelError, match="other is not the one that .* was made from"):
        Atlas.open(tmp_path / "a", model=other)
    with pytest.raises(ModelError, match="nowhere"):
        _ = Atlas.open(tmp_path / "a").model


def test_an_atlas_is_made_in_a_free_place_only(tmp_path: Path, model: Model) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already and is not empty"):
        make(tmp_path, model)
    with pytest.raises(InputError, match="is there already and is not empty"):
        make(tmp_path / "note.txt", model)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", model)


def test_a_damaged_record_is_told(tmp_path: Path, model: Model) -> None:
    make(tmp_path / "a", model)
    record = tmp_path / "a" / "atlas.json"
    content = json.loads(record.read_text())
    del content["settings"]
    record.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="does not describe an atlas"):
        Atlas.open(tmp_path / "a")
    content["settings"], content["model"]["median_norms"] = {}, 5
    record.write_text(json.dumps(content))
    with pytest.raises(StorageError, match="median_norms is 5"):
        Atlas.open(tmp_path / "a")
    record.write_text(record.read_text()[:40])
    with pytest.raises(StorageError, match="half-written"):
        Atlas.open(tmp_path / "a")


def test_what_is_not_there_yet_is_named(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    with pytest.raises(InputError, match=r"no dictionary 'mlp.0'.*neurons.*train or import"):
        made.dictionary("mlp.0")
    with pytest.raises(InputError, match="has no dictionary"):
        made.features("resid_post.1")
    assert made.labels("resid_post.1") is None
    assert made.feature_label("resid_post.1", 3) is None
    assert made.transcoders() == {}


def test_an_equal_result_is_saved_once_and_another_one_beside_it(
    tmp_path: Path, model: Model
) -> None:
    made = make(tmp_path / "a", model)
    steered = SteerResult("Où est-ce?", " a", " b", [1], [2], float("nan"), None)
    first = made.save(steered)
    assert json.loads(first.read_text())["plain_loss"] is None
    assert made.save(steered) == first
    assert made.save(replace(steered, steered=" c")) != first
    assert made.save(replace(steered, prompt="Où est ce")) != first
    assert len(made.steering) == 3
    assert [found.steered for found in made.steering] == [" b", " c", " b"]


@pytest.mark.parametrize("path", [None, 5, ""])
def test_what_is_no_path_is_no_atlas(path: Any, model: Model) -> None:
    for action in (Atlas.open, lambda p: Atlas.create(p, model)):
        with pytest.raises(InputError, match="names no atlas; expected the path of a folder"):
            action(path)


def test_settings_of_a_build_are_no_dict(tmp_path: Path, model: Model) -> None:
    settings: Any = {"layer": 1}
    with pytest.raises(InputError, match=r"\{'layer': 1\}; expected a BuildConfig"):
        build(model, tmp_path / "text.txt", tmp_path / "a", settings)
    assert not (tmp_path / "a").exists()


def test_the_middle_layer_and_every_mlp_are_read_by_default(model: Model) -> None:
    mlps = [f"{kind}.{layer}" for layer in range(3) for kind in ("mlp_in", "mlp_out")]
    assert default_sites(model) == ["resid_post.1", *mlps]


def test_an_index_reads_as_much_of_a_text_as_asked(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("llama", vocab_size=len(tokenizer)), tokenizer, name="tiny")
    made = Atlas.create(tmp_path / "a", model, source="nowhere")
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(["the cat sat on the mat"] * 40))
    with pytest.raises(InputError, match="max_tokens 50 without a text"):
        made.index(["mlp_act.1"], max_tokens=50)
    (index,) = made.index(["mlp_act.1"], text=text, max_tokens=50)
    assert 0 < index.num_considered <= 50


def test_a_second_writer_is_refused(tmp_path: Path, model: Model) -> None:
    make(tmp_path / "a", model)
    with lock(tmp_path / "a"), pytest.raises(StorageError, match="is being written by process"):
        build(model, tmp_path, tmp_path / "a")


@pytest.mark.parametrize("wrong", [{"expansion": 0}, {"k": -1}, {"widht": 3}, {"layer": -1}])
def test_settings_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BuildConfig(**wrong)  # type: ignore[arg-type]


def dictionary(site: str, seed: int = 0, d_dict: int = 8) -> Dictionary:
    torch.manual_seed(seed)
    site_in, _, site_out = site.partition(">")
    config = DictionaryConfig(
        d_in=32,
        d_out=32,
        d_dict=d_dict,
        k=2,
        site_in=site_in,
        site_out=site_out or site_in,
        subtract_b_dec=not site_out,
    )
    weights = {key: torch.randn(shape) for key, shape in config.shapes().items()}
    return Dictionary(config, weights, name="imported")


def test_dictionaries_are_added_under_the_name_of_their_site(tmp_path: Path, model: Model) -> None:
    made = Atlas.create(tmp_path / "a", model, source="nowhere")
    made.add(dictionary("resid_post.1"), dictionary("mlp_in.2>mlp_out.2"))
    made.add(dictionary("resid_post.1", seed=1), name="other")
    assert made.dictionary_names == ["resid_post.1", "mlp.2", "other"]
    assert made.residual == "resid_post.1"
    assert list(made.transcoders()) == [2]
    with pytest.raises(InputError, match=r"a dictionary 'mlp\.2' already"):
        made.add(dictionary("mlp_in.2>mlp_out.2"))
    with pytest.raises(SiteError, match="beyond the last layer"):
        made.add(dictionary("resid_post.7"))
    for name in ("../x", "a/b", "<script>", ""):
        with pytest.raises(InputError, match="letters, digits"):
            made.add(dictionary("resid_post.0"), name=name)
    with pytest.raises(InputError, match="for 2 dictionaries"):
        made.add(dictionary("resid_post.0"), dictionary("embed"), name="two")
    wide = Dictionary(
        DictionaryConfig(
            d_in=16, d_out=16, d_dict=4, k=2, site_in="embed", site_out="embed", subtract_b_dec=True
        ),
        {"W_enc": torch.ones(4, 16), "b_enc": torch.ones(4), "W_dec": torch.ones(4, 16)}
        | {"b_dec": torch.ones(16)},
    )
    with pytest.raises(InputError, match="16 wide at embed; expected 32"):
        made.add(wide)


def test_transcoders_are_chosen_where_a_layer_has_several(tmp_path: Path, model: Model) -> None:
    made = Atlas.create(tmp_path / "a", model, source="nowhere")
    made.add(dictionary("mlp_in.1>mlp_out.1"), dictionary("resid_post.1"))
    made.add(dictionary("mlp_in.1>mlp_out.1", seed=1), name="other").add(clt())
    across = made.dictionary("clt.0-2")
    assert made.transcoders() == {1: made.dictionary("mlp.1")}
    assert made.transcoders(["other"]) == {1: made.dictionary("other")}
    assert made.transcoders(["clt.0-2"]) == dict.fromkeys(range(3), across)
    graph = made.trace([5, 6, 7], names=["clt.0-2"], save=False)
    assert {n.dictionary for n in graph.nodes if n.kind == "feature"} == {"clt.0-2"}
    for names in (["resid_post.1"], ["mlp.1", "other"], ["mlp.1", "clt.0-2"]):
        with pytest.raises(InputError, match="is no transcoder, or of a layer that has one"):
            made.transcoders(names)
    with pytest.raises(InputError, match="has no dictionary 'x'"):
        made.trace([5, 6, 7], names=["x"])


def test_a_feature_is_found_by_dictionary_or_site(tmp_path: Path, model: Model) -> None:
    made = Atlas.create(tmp_path / "a", model, source="nowhere").add(dictionary("resid_post.1"))
    made.add(dictionary("mlp_in.2>mlp_out.2"))
    assert made.feature("resid_post.1/7").id == "resid_post.1/7"
    assert made.feature("mlp_out.2/3").id == "mlp.2/3"
    assert made.feature("resid_post.1/7").label is None
    with pytest.raises(InputError, match="is not indexed, so its largest activation is unknown"):
        made.feature("resid_post.1/7").clamp(2)
    assert made.feature("resid_post.1/7").ablate().mode == "ablate"
    for wrong in ("resid_post.1/8", "resid_post.1/x", "resid_post.1/" + "9" * 5000, "7", "no/1"):
        with pytest.raises(InputError):
            made.feature(wrong)
    for odd in (5, None, b"resid_post.1/7", ["resid_post.1/7"], ("resid_post.1", 7)):
        with pytest.raises(InputError, match="is not readable; expected dictionary/index"):
            made.feature(odd)  # type: ignore[arg-type]
    made.add(dictionary("resid_post.1", seed=1), name="again")
    assert made.feature("again/0").id == "again/0"
    made.add(dictionary("resid_post.0", seed=1), name="one").add(
        dictionary("resid_post.0"), name="two"
    )
    with pytest.raises(InputError, match="several dictionaries at resid_post.0; expected one of"):
        made.feature("resid_post.0/1")


def test_settings_bind_only_once_something_is_made(tmp_path: Path, model: Model) -> None:
    make(tmp_path / "a", model)
    text = tmp_path / "text.txt"
    text.write_text("")
    other = SMALL.model_copy(update={"max_tokens": 300})
    with pytest.raises(InscapeError, match=r"text\.txt|document"):
        build(model, text, tmp_path / "a", other)
    assert settings_of(Atlas.open(tmp_path / "a")) == other


def test_an_atlas_of_the_former_layout_says_how_to_go_on(tmp_path: Path, model: Model) -> None:
    make(tmp_path / "a", model)
    record = tmp_path / "a" / "atlas.json"
    record.write_text(record.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(StorageError, match="layout of an earlier inscape.*inscape build"):
        Atlas.open(tmp_path / "a")


def test_saved_results_are_listed_opened_and_deleted(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    made.add(random_transcoders(model)[1])
    graph = made.trace([5, 6, 7], save=False)
    made.save(replace(graph, prompt="a prompt"))
    assert len(made.traces) == 1
    assert made.traces[-1].prompt_tokens == graph.prompt_tokens
    with pytest.raises(InputError, match="has no 'x'; expected one of a-prompt"):
        made.traces.open("x")
    made.traces.delete(made.traces.names[0])
    assert made.traces.names == []


def test_dictionaries_are_named_by_patterns(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    made.add(dictionary("resid_post.1"), dictionary("mlp_in.1>mlp_out.1")).add(
        dictionary("mlp_in.2>mlp_out.2")
    )
    assert made.chosen("mlp.*") == ["mlp.1", "mlp.2"]
    assert made.chosen(["mlp.[02]", "resid*", "mlp.2"]) == ["mlp.2", "resid_post.1"]
    assert made.chosen("*") == ["resid_post.1", "mlp.1", "mlp.2"]
    assert made.chosen("mlp_act.*") == ["mlp_act.0", "mlp_act.1", "mlp_act.2"]
    assert made.chosen("mlp_act.[!1]") == ["mlp_act.0", "mlp_act.2"]
    assert made.transcoders(["mlp.?"]).keys() == {1, 2}
    for odd in ("[", "mlp_act.[", "*x", "MLP.*", "mlp_act.3*", "?" * 300):
        with pytest.raises(InputError, match="has no dictionary .*expected one of resid_post.1"):
            made.chosen(odd)
    for odd in (5, [5], [None]):
        with pytest.raises(InputError, match="the name of a dictionary: "):
            made.chosen(odd)  # type: ignore[arg-type]


def test_neurons_are_dictionaries_that_need_no_training(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    assert made.dictionary_names == []
    feature = made.feature("mlp_act.1/3")
    assert feature.dictionary.config.site_in == "mlp_act.1"
    assert made.steer([5, 6, 7], [feature.ablate()], max_new_tokens=2).steered_tokens
    with pytest.raises(InputError, match=r"no dictionary 'mlp_act.3'.*mlp_act.0 to mlp_act.2"):
        made.feature("mlp_act.3/0")
    with pytest.raises(InputError, match="does not exist"):
        made.feature("mlp_act.1/999999")


def test_where_nothing_is_there_nothing_is_done_in_silence(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    model = Model.wrap(tiny("gpt2", vocab_size=len(tokenizer)), tokenizer)
    made = Atlas.create(tmp_path / "a", model)
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(["the cat sat on the mat", "the dog sat in Paris"] * 9))
    for act in (made.index, made.validate):
        with pytest.raises(InputError, match=r"has no dictionary yet.*mlp_act\.L"):
            act(text=text)
    with pytest.raises(InputError, match="has no indexed dictionary; run: inscape index"):
        made.label()
    made.index("mlp_act.1", text=text)  # one name is a list of one
    made.label("mlp_act.1")
    silent = int((made.features("mlp_act.1").max == 0).argmax())
    with pytest.raises(
        InputError, match=f"mlp_act.1/{silent} was never active on the indexed text"
    ):
        made.steer("the cat", {f"mlp_act.1/{silent}": 8.0})
    (found,) = made.validate(text)
    assert (found.dictionary, found.fidelity.fvu) == ("mlp_act.1", 0)
    assert found.fidelity.extra_ce == pytest.approx(0, abs=1e-6)
    assert made.search("cat", names="mlp_act.1") == made.search("cat")
    with pytest.raises(InputError, match="no indexed dictionary among mlp_act.0"):
        made.search("cat", names="mlp_act.0")


def test_an_atlas_reads_text_as_its_dictionaries_did(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny("llama", vocab_size=300).save_pretrained(folder)
    tiny_tokenizer(adds=False).save_pretrained(folder)
    model = Model.open(folder, device="cpu", bos="always")
    made = Atlas.create(tmp_path / "a", model, source=folder)
    assert Atlas.open(made.path, device="cpu").model.bos_id == 1
    assert Atlas.open(made.path, device="cpu").model.sink_medians == {}
    text = ["the cat sat", "on the mat", "the dog sat in Paris"]
    store = harvest(model, text, ["resid_post.1", "mlp_out.1"], made.path / "activations/corpus")
    assert set(store.median_norms) == {"resid_post.1"}
    found = Atlas.open(made.path, device="cpu").model
    assert found.sink_medians == store.median_norms
    rows = [list(found.prompt(t).ids) for t in text]
    flags = [found.prompt(ids).counted.tolist() for ids in rows]
    assert [c for row in flags for c in row] == (store.tokens().flags == 0).tolist()


def test_an_atlas_records_where_its_model_opens_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "some" / "small"
    tiny("llama", vocab_size=300).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    monkeypatch.chdir(folder.parent)
    made = Atlas.create(tmp_path / "a", Model.open("small", device="cpu"), source="elsewhere")
    monkeypatch.chdir(tmp_path)
    assert made.record["model"]["source"] == str(folder)
    assert made.record["model"]["revision"] is None
    assert Atlas.open(tmp_path / "a", device="cpu").model.name == "small"


def test_results_are_taken_by_slices_and_from_the_end(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    for number in range(4):
        text = str(number)
        made.save(SteerResult("a", text, text, [number], [number], None, None))
    found = made.steering
    assert [one.plain for one in found[:1]] == ["0"]
    assert [one.plain for one in found[-2:]] == ["2", "3"]
    assert [one.plain for one in found[::-2]] == ["3", "1"]
    assert found[-1].plain == "3"
    assert made.diagnoses[:1] == []
    with pytest.raises(IndexError):
        found[4]
    assert repr(found).startswith("Results(4: a-")
    assert repr(made.diagnoses) == "Results(none yet)"


def test_results_print_as_one_short_line(tmp_path: Path, model: Model) -> None:
    made = make(tmp_path / "a", model)
    made.add(random_transcoders(model)[1])
    graph = made.trace([5, 6, 7], save=False)
    steered = made.steer([5, 6, 7], [made.feature("mlp_act.1/3").ablate()], save=False)
    diagnosis = Diagnosis("a prompt " * 99, " Spain", " Sp", 0.1, 1, 1, "outvoted", " Italy")
    repair = Repair((), "tiny", "hash")
    for result in (graph, steered, diagnosis, repair, made.feature("mlp_act.1/3")):
        assert "\n" not in repr(result)
        assert len(repr(result)) < 250
        assert str(result) == repr(result)
        assert repr(result).startswith(type(result).__name__ + "(")
    assert "of " in repr(graph)
    assert f"{graph.num_nodes_full} nodes" in repr(graph)
    assert "correct=' Spain', wrong=' Italy', mechanism='outvoted'" in repr(diagnosis)
    assert repr(made.feature("mlp_act.1/3")) == "Feature('mlp_act.1/3', label=None)"
    assert graph._repr_html_().startswith("<")
