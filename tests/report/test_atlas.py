"""The page of an atlas: whole, self-contained, and readable whatever the atlas holds."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from tests.attribution.random_transcoders import random_dictionary
from tests.families import tiny, tiny_tokenizer
from tests.report.made import PROMPT, found, graph
from tests.report.reading import Page

from inscape.activations import harvest
from inscape.atlas import Atlas
from inscape.cli import main as shell
from inscape.core import InputError, StorageError, quoted
from inscape.features import build_index
from inscape.intervention import SteerResult
from inscape.labels import Label, Labels
from inscape.model import Model
from inscape.report import atlas_html, map_html, write_atlas_report, write_feature
from inscape.report.features import feature_body
from inscape.validation import ConceptCheck, ConceptChecks, Detector

NAME = "resid_post.1"
EVIL = "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(), name="tiny")


def checks() -> ConceptChecks:
    """One concept that is found by two features, and one that is not there."""
    best = Detector(
        "union", (f"{NAME}/3", f"{NAME}/4"), "max", "sum", 1, 0.97, (0.9, 1), 2.5, 0.8, 0.75
    )
    beside = {"neuron": replace(best, kind="neuron", parts=("mlp_act.1[3]",), auroc=0.81)}
    found = ConceptCheck(f"cats {EVIL}", 0.9, 20, 30, 0, best, best, beside)
    absent = ConceptCheck("morals", 0.9, 20, 30, 0, None, None, beside)
    where = {NAME: f"{NAME}, 64 features"}
    return ConceptChecks("tiny", "c.toml", where, 128, 80, (absent, found), {f"{NAME}/3": EVIL})


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Atlas:
    """An atlas with an indexed, labelled dictionary, and one result of each kind."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("text")
    endings = [f"{one} {other}" for one in "abcdef" for other in "uvwxyz"]
    documents = [f"the cat sat on the mat <b>bold</b> {e}; the dog sat {e[::-1]}" for e in endings]
    (folder / "text.txt").write_text("\n\n".join(documents))
    store = harvest(model, folder / "text.txt", ["resid_post.1"], folder / "store")
    atlas = Atlas.create(tmp_path_factory.mktemp("atlas") / "a", model, source="nowhere")
    atlas.add(
        random_dictionary("resid_post.1", "resid_post.1", d=32),
        random_dictionary("mlp_in.1", "mlp_out.1", d=32, kind="threshold"),
    )
    build_index(model, atlas.dictionary(NAME), store, atlas.place("features", NAME))
    atlas.label([NAME])
    atlas.concepts("the cat sat", names=[NAME])
    atlas.save(graph(PROMPT))
    atlas.save(found())
    atlas.save(SteerResult("My name is", " Ann", f" {EVIL}", [1], [2], 2.5, None))
    atlas.save(checks())
    return atlas


def test_concepts_are_shown_with_what_was_tried(full: Atlas) -> None:
    shown = Page(atlas_html(full)).text
    assert re.search(r"1 of 2 concepts of c.toml found", shown)
    assert re.search(
        r"cats .*0\.97.*80.*75.*0\.81.*resid_post\.1/3.*or.*resid_post\.1/4", shown, re.S
    )
    assert re.search(r"morals.*no feature fires.*below 0\.9", shown, re.S)
    assert "unions of three of resid_post.1 (resid_post.1, 64 features)" in shown


def test_every_part_is_shown(full: Atlas) -> None:
    page = Page(atlas_html(full))
    text = " ".join(page.words)
    assert [s["id"] for s in page.named("section")] == [
        "dictionaries",
        "checks",
        "prompts",
        "traces",
        "diagnoses",
        "steering",
        "features",
    ]
    assert "mlp_in.1 → mlp_out.1" in text
    assert "no fixed number" in text  # of active features: a threshold has no k
    features = [f for f in page.named("li") if f.get("class") == "feature"]
    index = full.features("resid_post.1")
    assert 6 <= len(features) <= int((index.num_active > 0).sum())
    assert any(svg.get("class") == "graph" for svg in page.named("svg"))
    assert "outvoted" in text
    assert EVIL in text
    assert "None yet" not in text


def test_unclear_features_are_counted_apart(full: Atlas, model: Model) -> None:
    again, labels = Atlas.open(full.path, model=model), full.labels("resid_post.1")
    assert labels is not None
    first, *rest = (one for one in labels if one.name)
    unnamed = replace(first, kind="unclear", text="", auroc=0.5)
    again._labels[again.place("labels", "resid_post.1")] = Labels(
        labels.folder, labels.manifest, [unnamed, *rest]
    )
    page = Page(atlas_html(again))
    text = " ".join(" ".join(page.words).split())
    assert f" {len(rest)} 1 unclear" in text
    assert "1 unclear" not in " ".join(Page(atlas_html(full)).words)


def test_nothing_is_asked_for_from_outside_and_one_script_may_run(full: Atlas) -> None:
    text = atlas_html(full)
    page = Page(text)
    assert len(page.named("script")) == 1
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert script is not None
    metas = {m.get("http-equiv"): str(m.get("content")) for m in page.named("meta")}
    digest = b64encode(sha256(script[1].encode()).digest()).decode()
    policy = metas["Content-Security-Policy"]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search("http|innerHTML|eval", script[1])
    for name, attributes in page.elements:
        assert name not in {"img", "iframe", "link", "base", "form", "object", "embed"}
        assert not [a for a in attributes if a.startswith("on") or a in ("src", "action")]
        assert str(attributes.get("href", "#")).startswith("#")


def test_an_empty_atlas_says_how_to_fill_it(tmp_path: Path, model: Model) -> None:
    atlas = Atlas.create(tmp_path / "a", model, source="nowhere")
    text = Page(atlas_html(atlas)).text
    assert text.count("None yet") == 7
    assert 'inscape trace ATLAS "a prompt"' in text


def test_a_damaged_result_is_named_and_the_rest_is_shown(full: Atlas, tmp_path: Path) -> None:
    shutil.copytree(full.path, tmp_path / "a")
    bad = tmp_path / "a" / "traces" / "bad.json"
    bad.write_text(json.dumps({**graph(PROMPT).to_json(), "version": 99}))
    (tmp_path / "a" / "diagnoses" / "half.json").write_text('{"schema": "inscape.diag')
    text = Page(atlas_html(Atlas.open(tmp_path / "a"))).text
    assert "bad.json cannot be shown: found version 99 of inscape.graph" in text
    assert "half.json cannot be shown" in text
    assert "outvoted" in text


def test_steering_names_the_labels_of_what_was_changed(full: Atlas, tmp_path: Path) -> None:
    shutil.copytree(full.path, tmp_path / "a")
    atlas = Atlas.open(tmp_path / "a", model=full.model)
    labels = full.labels("resid_post.1")
    assert labels is not None
    feature = next(f for f in range(64) if f in labels)
    changes = (f"add 14.4 of resid_post.1/{feature}", "ablate ../7", f"ablate x/{'9' * 5000}")
    atlas.save(SteerResult("p", " a", " b", [1], [2], None, None, changes))
    page = Page(atlas_html(atlas))
    assert f"resid_post.1/{feature} [{full.feature_label('resid_post.1', feature)}]" in page.text
    assert f"resid_post.1/{feature}" in page.words  # in the list of features


def test_in_place_of_a_missing_label_stand_tokens_that_are_called_tokens(
    full: Atlas, tmp_path: Path
) -> None:
    shutil.copytree(full.path, tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "labels")
    atlas = Atlas.open(tmp_path / "a", model=full.model)
    feature = int(full.features("resid_post.1").num_active.argmax())
    found = atlas.feature(f"resid_post.1/{feature}")
    assert found.label is None
    assert 1 <= len(found.tokens) <= 4
    assert found.shown == f"tokens: {', '.join(map(quoted, found.tokens))}"
    assert found.summary().splitlines()[0] == f"{found.id}  {found.shown}"
    assert (found.to_json()["label"], found.to_json()["tokens"]) == (None, found.tokens)
    assert atlas.feature_label("resid_post.1", feature) == found.shown
    assert atlas.feature_name("resid_post.1", feature) is None
    assert found.shown in Page(atlas_html(atlas)).text
    names = ["resid_post.1"]  # the other one is not indexed
    hit = next(h for h in atlas.search(found.tokens[0], names=names, limit=64) if h.id == found.id)
    assert (hit.label, hit.shown) == (None, found.shown)
    assert atlas.feature_label("resid_post.1", 10**6) is None
    assert atlas.feature_label("mlp.1", 0) is None  # not indexed


def test_only_a_page_of_inscape_is_replaced(full: Atlas, tmp_path: Path) -> None:
    assert write_atlas_report(full) == full.path / "report.html"
    assert write_atlas_report(full, tmp_path / "p.html").read_text() == atlas_html(full)
    write_atlas_report(full, tmp_path / "p.html")
    (tmp_path / "thesis.html").write_text("my thesis")
    with pytest.raises(InputError, match="this command did not write it.*choose another name"):
        write_atlas_report(full, tmp_path / "thesis.html")
    with pytest.raises(StorageError, match="is a folder"):
        write_atlas_report(full, tmp_path)
    assert (tmp_path / "thesis.html").read_text() == "my thesis"


def test_the_verb(full: Atlas, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert shell.main(["report", str(full.path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_a_feature_has_a_page_of_its_own(
    full: Atlas, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = full.labels("resid_post.1")
    assert labels is not None
    label = next(one for one in labels if one.name and one.num_scored)
    index, id = full.features("resid_post.1"), f"resid_post.1/{label.feature}"
    feature, out = full.feature(id), tmp_path / "feature.html"
    write_feature(feature, out)
    page = Page(out.read_text())
    text = " ".join(page.text.split())
    assert "picks out the passage in which the feature is active" in text
    assert repr(label.auroc) in {value for value, _ in page.figures}
    assert "Examples from weaker to weakest" in text
    for title, near in (
        ("Features that point the same way", index.neighbours(label.feature)),
        ("Features that are active on the same tokens", index.coactive(label.feature)),
    ):
        assert (title in text) == bool(near)
        assert all(f"resid_post.1/{other}" in page.words for other, _ in near[:5])
    summary = feature.summary()
    assert f"name: of kind {label.kind}, by offline" in summary
    assert "chance is 50%" in summary
    stored = json.loads(json.dumps(feature.to_json()))
    assert stored["about"]["auroc"] == label.auroc
    assert {example["interval"] for example in stored["examples"]} > {None}
    out.write_text("my thesis")
    with pytest.raises(InputError, match="did not write it"):
        write_feature(feature, out)


def test_an_unclear_feature_says_so(full: Atlas, model: Model) -> None:
    index = full.features("resid_post.1")
    feature = int(index.num_active.argmax())
    unclear = Label(feature, "", "unclear", words=("cat",))
    text = Page(feature_body(index, feature, unclear)).text
    assert "No name: none of those that were tried tells the passages" in text
    assert "picks out" not in text
    everywhere = Label(feature, "fires on every token", "everywhere")
    assert "there is nothing to name" in Page(feature_body(index, feature, everywhere)).text
    assert "It has no name" in Page(feature_body(index, feature)).text


def test_notebooks_show_pictures(full: Atlas) -> None:
    assert "<svg" in full.traces[0]._repr_html_()
    assert "Verdict" in full.diagnoses[0]._repr_html_()
    strongest = int(full.features("resid_post.1").max.argmax())
    feature = Page(full.feature(f"resid_post.1/{strongest}")._repr_html_())
    assert f"resid_post.1/{strongest}" in feature.words
    assert feature.named("mark")
    assert "Not indexed" in full.feature("mlp.1/3")._repr_html_()
    page = Page(full.steering[0]._repr_html_())
    assert page.named("script") == page.named("img") == []
    assert EVIL in page.text


def test_the_map_is_a_page_by_itself(
    full: Atlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("inscape.labels.map.find_spec", lambda name: None)  # t-SNE is quicker here
    shutil.copytree(full.path, tmp_path / "a")
    atlas = Atlas.open(tmp_path / "a", model=full.model)
    with pytest.raises(InputError, match=r"has no map yet; run: inscape map"):
        map_html(atlas)
    assert shell.main(["map", str(atlas.path), "--dictionary", "resid_post.1", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made["page"] == str(atlas.path / "map.html")
    assert [one.dictionary for one in atlas.maps()] == ["resid_post.1"]
    html = (atlas.path / "map.html").read_text()
    page = Page(html)
    (policy,) = (a for a in page.named("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in str(policy["content"])
    assert len(page.named("script")) == 1
    assert not re.findall(r"https?:", re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL))
    (points,) = (json.loads(word) for word in page.words if word.startswith('{"resid_post.1"'))
    columns = points["resid_post.1"]
    index = atlas.features("resid_post.1")
    assert len(columns["feature"]) == made["features"] == int((index.num_active >= 8).sum())
    assert {len(columns[name]) for name in ("x", "y", "group", "label", "words", "abstract")} == {
        made["features"]
    }
    assert max(columns["x"] + columns["y"]) == 4095
    assert set(columns["group"]) == set(range(len(columns["groups"])))
    for name in columns["groups"]:
        assert name in page.text
    assert shell.main(["map", str(atlas.path), "--families", "resid_post.1", "resid_post.1"]) == 0
    assert "resid_post.1" in capsys.readouterr().out
