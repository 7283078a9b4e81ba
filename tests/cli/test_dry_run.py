"""`inscape train --dry-run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inscape.cli import main as shell


def test_a_dry_run_writes_nothing(
    tmp_path: Path, tiny_model: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "train",
        str(text),
        "--model",
        str(tiny_model),
        "--site",
        "resid_post.1",
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--dry-run", "--tokens", "4000", "--batch-size", "64", "--d-dict", "128"]
    assert shell.main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_steps"] == 62
    assert found["memory"]["moments"] == 2 * found["memory"]["weights"]
    assert shell.main([*command, "--processes", "2"]) == 0
    shown = capsys.readouterr()
    assert "sent in a step along data" in shown.out
    assert "memory of a process" in shown.out
    assert list(tmp_path.iterdir()) == []
    assert shell.main([*command[:8], "--processes", "2"]) == 2
    assert "--processes without --dry-run" in capsys.readouterr().err
