"""The verbs that trace: of a model by itself, and of an atlas, where the result is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.attribution.published import circuit_tracer

from inscape.atlas import Atlas
from inscape.cli import main as shell

VERBS = {
    "trace": ["the cat sat", "--heads", "2"],
    "trajectory": ["the cat", "--answer", " sat on the"],
    "attention": ["the cat sat on", "--layer", "1", "--head", "0"],
    "exchange": ["the cat sat on", "on cat sat the", "--controls", "2", "--neurons", "5"],
}
SCHEMAS = {
    "trajectory": "inscape.trajectory",
    "attention": "inscape.attention",
    "exchange": "inscape.exchange",
}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> str:
        capsys.readouterr()
        code = shell.main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return shown.out

    return run


def test_a_set_that_a_model_does_not_know_is_refused(
    capsys: pytest.CaptureFixture[str], tiny_model: Path
) -> None:
    assert shell.main(["circuit", str(tiny_model), "--set", "nothing"]) == 2
    assert "there is no set of prompts 'nothing'" in capsys.readouterr().err
    assert shell.main(["circuit", str(tiny_model), "--set", "agreement", "--num", "4"]) == 2
    assert "shows the behaviour on" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_is_traced_without_an_atlas(verb: str, said: Any, tiny_model: Path) -> None:
    shown = said(verb, tiny_model, *VERBS[verb])
    assert "the cat" in shown
    assert all(len(line) <= 100 for line in shown.partition("Under each node")[2].splitlines())
    if verb in SCHEMAS:
        content = json.loads(said(verb, tiny_model, *VERBS[verb], "--json"))
        assert content["schema"] == SCHEMAS[verb]


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "trace"])
def test_a_result_is_saved_in_the_atlas(
    verb: str, said: Any, tiny_model: Path, tmp_path: Path
) -> None:
    Atlas.create(tmp_path / "a", tiny_model)
    shown = said(verb, tmp_path / "a", *VERBS[verb])
    atlas = Atlas.open(tmp_path / "a")
    results: dict[str, Any] = {
        "trajectory": atlas.trajectories,
        "attention": atlas.attentions,
        "exchange": atlas.exchanges,
    }
    assert results[verb][-1].summary() in shown


def test_a_trace_is_written_for_the_viewer(
    said: Any, atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = tmp_path / "pages"
    shown = said("trace", atlas, "the cat sat on", "--viewer", pages)
    assert "Under each node" in shown
    (path,) = set(pages.glob("*.json")) - {pages / "graph-metadata.json"}
    view = json.loads(path.read_text())
    folder = pages / view["metadata"]["scan"].removeprefix("./data/")
    files = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    assert {f["name"].partition("/")[0] for f in files} <= {
        *Atlas.open(atlas).dictionary_names,
        *(f"mlp_act.{n}" for n in range(3)),
    }
    assert any(f["examples_quantiles"] for f in files)


def test_a_saved_trace_is_opened_with_the_labels_of_its_atlas(
    said: Any, atlas: Path, tmp_path: Path
) -> None:
    traced = said("trace", atlas, "the cat sat over")
    (saved,) = (atlas / "traces").glob("the-cat-sat-over-*.json")
    opened = said("graph", saved)
    scores = next(line for line in traced.splitlines() if line.startswith("graph: "))
    assert scores in opened
    entries = [line for line in traced.splitlines() if line.startswith(" [")]
    assert entries
    assert [line for line in opened.splitlines() if line.startswith(" [")] == entries
    copy = tmp_path / "copy.json"
    copy.write_bytes(saved.read_bytes())
    assert said("graph", copy, "--atlas", atlas) == opened
    out = tmp_path / "view.json"
    said("graph", copy, "--atlas", atlas, "--out", out, "--viewer", tmp_path / "pages")
    assert said("graph", out) == opened  # the labels are in the file
    assert len(list((tmp_path / "pages" / "features").rglob("*.json"))) > 3
    assert json.loads(said("graph", out, "--json")) == json.loads(out.read_text())


def test_a_graph_of_another_tool_is_shown(
    said: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(circuit_tracer()))
    shown = said("graph", path)
    assert "answer  ' four' (p=0.233)" in shown
    assert "group 'counting'" in shown
    path.write_text('{"graphs": []}')
    assert shell.main(["graph", str(path)]) == 2
    assert "graph.json has no metadata; expected a graph" in capsys.readouterr().err
    assert shell.main(["graph", str(tmp_path / "none.json")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_folder_with_another_file_in_the_way_is_refused(
    said: Any, atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "graph-metadata.json").write_text('{"graphs": []}')
    assert shell.main(["trace", str(atlas), "the cat sat in", "--viewer", str(tmp_path)]) == 2
    assert "this command did not write it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["graph-metadata.json"]


def test_graphs_of_prompts_are_scored(said: Any, tiny_model: Path, tmp_path: Path) -> None:
    Atlas.create(tmp_path / "a", tiny_model)
    (tmp_path / "prompts.txt").write_text("the cat sat\n\na dog ran\n")
    shown = said("validate", tmp_path / "a", "--graphs", tmp_path / "prompts.txt")
    assert "graphs of 2 prompts through neurons alone" in shown
    assert "rank correlation" in shown


def test_a_trace_beside_another_prompt(said: Any, tiny_model: Path) -> None:
    shown = said("trace", tiny_model, "the cat sat on", "--other", "on cat sat the")
    assert "beside 'on cat sat the', on which the targets are" in shown
    assert "as they are there" in shown
