"""The verbs that trace: of a model by itself, and of an atlas, where the result is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
        if code == 2 and "answer" in shown.err:  # an untrained model says the same to all
            pytest.skip(shown.err)
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
