"""The chain from build to steering on a model that nobody here trained, where it is present."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inscape.cli import main as shell

PROMPT = "Once upon a time, there was a little girl named"
BUILD = ["--max-tokens", "12000", "--train-tokens", "24576", "--expansion", "4", "--k", "8"]


@pytest.fixture(scope="module")
def stories(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stories") / "atlas"
    model, text = shared / "stories260k", shared / "text" / "stories.txt"
    assert shell.main(["build", str(model), "--text", str(text), "--out", str(out), *BUILD]) == 0
    return out


def test_the_graph_is_that_of_the_viewer(stories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert shell.main(["trace", str(stories), PROMPT, "--json"]) == 0
    graph = json.loads(capsys.readouterr().out)
    assert {"metadata", "nodes", "links"} <= set(graph)
    assert graph["nodes"]
    assert graph["links"]
    assert any(node["feature_type"] == "cross layer transcoder" for node in graph["nodes"])


def test_a_wrong_answer_is_diagnosed(stories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert shell.main(["diagnose", str(stories), PROMPT, "--correct", " Tom", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_failures"] == 1
    assert found["wrong"] != found["correct_token"]
    assert found["for_wrong"]
    assert found["lead"] > 0


def test_steering_changes_what_is_written(
    stories: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    residual = next(p.name for p in (stories / "dictionaries").iterdir() if "resid" in p.name)
    said = []
    for strength in ("0", "30"):
        capsys.readouterr()
        asked = ["--feature", f"{residual}/0", "--mode", "add", "--strength", strength, "--json"]
        assert shell.main(["steer", str(stories), PROMPT, *asked]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["plain"] == said[0]["steered"] == said[1]["plain"] != said[1]["steered"]
