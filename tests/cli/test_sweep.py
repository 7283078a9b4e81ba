"""`inscape sweep` from a store and a text: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import sentences

from inscape.cli import main as shell
from inscape.core import progress

GRID = [
    "--variant",
    "topk,jumprelu",
    "--k",
    "2,4",
    "--d-dict",
    "48",
    "--tokens",
    "4096",
    "--option",
    "jumprelu.threshold=0.01",
]


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    path = tmp_path / "held-out.txt"
    path.write_text(sentences(7, 20))
    return path


def swept(
    capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0
) -> tuple[str, list[str]]:
    """What a sweep prints on standard output, and the lines of standard error."""
    capsys.readouterr()
    assert shell.main(["sweep", *map(str, arguments)]) == code
    shown = capsys.readouterr()
    return shown.out, [line for line in shown.err.splitlines() if line]


def bits(out: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in out.glob("*/weights.safetensors")}


def test_from_a_store_to_a_front_and_on_after_a_stop(
    atlas: Path,
    tiny_model: Path,
    held_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = atlas / "activations" / "corpus"
    command = [
        store,
        "--model",
        tiny_model,
        "--site",
        "resid_post.1",
        "--held-out",
        held_out,
        *GRID,
    ]
    printed, _ = swept(capsys, *command, "--out", tmp_path / "whole", "--json")
    front = json.loads(printed)
    assert [(s["variant"], s["k"]) for s in front["settings"]] == [
        ("topk", 2),
        ("topk", 4),
        ("jumprelu", 2),
        ("jumprelu", 4),
    ]
    assert any(s["optimal"] for s in front["settings"])
    assert front["settings"][0]["l0"] <= 2
    assert json.loads((tmp_path / "whole" / "front.json").read_text()) == front
    assert "<svg" in (tmp_path / "whole" / "front.html").read_text()

    advance = progress.advance

    def interrupt(bar: progress, n: float = 1, **figures: float | str) -> None:
        advance(bar, n, **figures)
        if bar.description.startswith("train") and bar.done == 2048:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(progress, "advance", interrupt)
        _, said = swept(capsys, *command, "--out", tmp_path / "stopped", code=2)
    assert "stopped after step 2 of 4" in said[-1]
    printed, _ = swept(capsys, *command, "--out", tmp_path / "stopped")
    assert "front.html" in printed
    assert len(bits(tmp_path / "whole")) == 4
    assert bits(tmp_path / "stopped") == bits(tmp_path / "whole")


def test_transcoders_and_a_text(
    atlas: Path,
    text: Path,
    tiny_model: Path,
    held_out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = [
        "--k",
        "4",
        "--d-dict",
        "48",
        "--seed",
        "0,1",
        "--tokens",
        "2048",
        "--held-out",
        held_out,
    ]
    store = [atlas / "activations" / "corpus", "--model", tiny_model]
    made = [*store, "--site", "mlp_in.0", "--to", "mlp_out.0", "--out", tmp_path / "a", *few]
    front = json.loads(swept(capsys, *made, "--json")[0])
    assert front["made_from"]["sites"] == ["mlp_in.0", "mlp_out.0"]
    assert [t["seed"] for t in front["settings"][0]["dictionaries"]] == [0, 1]
    read = [text, "--model", tiny_model, "--memory", 0.01, "--site", "resid_post.1"]
    front = json.loads(swept(capsys, *read, "--out", tmp_path / "t", *few, "--json")[0])
    assert len(front["settings"]) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--k", "8,many"], "--k '8,many'; expected whole numbers"),
        (["--k", ","], "over k nothing"),
        (["--k", "64"], "k = 64 is larger than the dictionary of 48 features"),
        (["--variant", "jumprelu,tokp"], "unknown variant 'tokp'"),
        (["--option", "penalty=tanh"], "expected VARIANT.NAME=VALUE"),
        (["--option", "gated.ramp=0.1"], "a setting of gated, which is not swept"),
        (["--site", "resid_post.9"], "holds no activations at resid_post.9"),
        (["--memory", "2"], "--memory does not apply to"),
    ],
)
def test_what_is_refused(
    changes: list[str],
    said: str,
    atlas: Path,
    tiny_model: Path,
    held_out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = atlas / "activations" / "corpus"
    command: list[Any] = [store, "--model", tiny_model, "--site", "resid_post.1"]
    command += ["--held-out", held_out]
    command += ["--out", tmp_path / "out", *GRID, *changes]
    printed, lines = swept(capsys, *command, code=2)
    assert printed == ""
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_store_needs_its_model_and_a_held_out_text_must_be_there(
    atlas: Path,
    held_out: Path,
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = atlas / "activations" / "corpus"
    command = [store, "--site", "resid_post.1", "--out", tmp_path / "out", *GRID, "--held-out"]
    _, lines = swept(capsys, *command, held_out, code=2)
    assert "--held-out and --model go together" in lines[0]
    _, lines = swept(capsys, *command, tmp_path / "no.txt", "--model", tiny_model, code=2)
    assert str(tmp_path / "no.txt") in lines[0]
