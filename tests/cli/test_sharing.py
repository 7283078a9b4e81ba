"""`inscape train` of a text on several processes: they share the forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import sentences
from tests.training.test_processes import assert_alike, said, torchrun

from inscape.cli import main as shell
from inscape.cli.sources import open_source
from inscape.model import Model
from inscape.training import Ranks

COUNTED = """
import os, signal, sys
from pathlib import Path
from inscape.cli import main as shell
from inscape.model import Model
plain, fault, passes, log = Model.run, sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
def run(self, tokens, **options):
    if fault == "killed" and os.environ["RANK"] == "1" and log.exists():  # amid the steps
        os.kill(os.getpid(), signal.SIGKILL)
    with open(passes / os.environ["RANK"], "a") as file:
        print(tokens.numel(), file=file)
    return plain(self, tokens, **options)
Model.run = run
sys.exit(shell.main(sys.argv[4:]))
"""


def test_several_processes_share_the_reading(
    tiny_model: Path, tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "text.txt").write_text(sentences(0, 800))
    (tmp_path / "counted.py").write_text(COUNTED)
    passes = tmp_path / "passes"
    passes.mkdir()
    command = [
        *("train", tmp_path / "text.txt", "--model", tiny_model, "--site", "resid_post.1"),
        *("--memory", 0.0025, "--d-dict", 64, "--k", 8, "--tokens", 12288, "--device", "cpu"),
    ]
    assert shell.main([*map(str, command), "--out", str(tmp_path / "one")]) == 0
    command += ["--out", tmp_path / "two"]
    log = tmp_path / "two.partial" / "train.jsonl"
    run = [tmp_path / "counted.py", "killed", passes, log, *command]
    result = torchrun(2, run, repository)
    assert result.returncode != 0
    (line,) = said(result)
    assert line.startswith("inscape: process 0 of 2: another process has ended")
    for file in passes.iterdir():
        file.unlink()
    run[1] = "whole"
    result = torchrun(2, run, repository)
    assert result.returncode == 0, result.stderr
    assert_alike(tmp_path / "two", tmp_path / "one")
    first, second = (len((passes / rank).read_text().splitlines()) for rank in "01")
    assert second > 0
    assert 0 <= first - second <= 1


def test_the_model_opens_where_training_is(
    tiny_model: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = Model.open, []

    def opened(path: str, **options: Any) -> Model:
        asked.append(options["device"])
        return plain(path, device="cpu")

    monkeypatch.setattr(Model, "open", opened)
    ranks = Ranks("cuda:1")
    source, _ = open_source(
        text,
        ("resid_post.1", None),
        model=str(tiny_model),
        memory=0.01,
        skip_corrupt=False,
        ranks=ranks,
    )
    assert asked == ["cuda:1"]
    assert source._reader.sharing is ranks
