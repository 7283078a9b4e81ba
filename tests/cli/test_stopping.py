"""Whatever ends a command in the middle of a step, the same command again gives the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import ALL

from inscape.cli import main as shell
from inscape.core import progress

STEPS = ["harvest", "train resid_post.1 and 3 more", "index", "labels of resid_post.1"]


def results(atlas: Path) -> dict[str, bytes]:
    """The content of every file that holds results; logs and manifests hold times too."""
    kinds = {".safetensors", ".parquet", ".npy"}
    files = (path for path in sorted(atlas.rglob("*")) if path.suffix in kinds)
    found = {str(path.relative_to(atlas)): path.read_bytes() for path in files}
    return {**found, "atlas.json": (atlas / "atlas.json").read_bytes()}


def leftovers(atlas: Path) -> list[str]:
    return [p.name for p in atlas.rglob("*") if p.name.startswith(".") and p.name != ".lock"]


@pytest.fixture
def build(tiny_model: Path, text: Path, tmp_path: Path) -> list[str]:
    """The command that makes the atlas which the fixture `atlas` is, elsewhere."""
    return [*map(str, ("build", tiny_model, "--text", text, "--out", tmp_path / "atlas")), *ALL]


def test_ctrl_c_in_the_middle_of_each_step(
    build: list[str],
    atlas: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted: list[str] = []
    advance = progress.advance

    def advance_and_interrupt(bar: progress, n: float = 1, **figures: float | str) -> None:
        advance(bar, n, **figures)
        if bar.description in STEPS and bar.description not in interrupted:
            interrupted.append(bar.description)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(progress, "advance", advance_and_interrupt)
    for number in range(1, len(STEPS) + 1):
        capsys.readouterr()
        assert shell.main(build) == 2
        assert len(interrupted) == number
        lines = [line for line in capsys.readouterr().err.splitlines() if line]
        assert len(lines) == 1
        assert "stopped" in lines[0]
        assert "goes on" in lines[0]
    assert shell.main(build) == 0
    assert interrupted == STEPS
    assert results(tmp_path / "atlas") == results(atlas)
    assert leftovers(tmp_path / "atlas") == []


def stopped_at(build: list[str], sign: str, number: signal.Signals) -> tuple[int, list[str]]:
    """Runs the command as a process of its own, and sends it a signal once a file that begins a
    step is there. The exit code and the lines of standard error."""
    out = Path(build[build.index("--out") + 1])
    command = [sys.executable, "-m", "inscape", *build]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        while not list(out.glob(sign)):
            assert process.poll() is None, f"ended before {sign}"
            time.sleep(0.001)
        process.send_signal(number)
        said = process.communicate()[1]
    return process.returncode, [line for line in said.splitlines() if line]


def test_signals_to_a_real_process(build: list[str], atlas: Path, tmp_path: Path) -> None:
    code, _ = stopped_at(build, "dictionaries/mlp.0.partial/.lock", signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, lines = stopped_at(build, "features/.resid_post.1.writing-*", signal.SIGTERM)
    assert code == 2
    assert len(lines) == 1, lines
    assert "stopped" in lines[0]
    assert "goes on" in lines[0]
    assert shell.main(build) == 0
    assert results(tmp_path / "atlas") == results(atlas)
    assert leftovers(tmp_path / "atlas") == []


def test_a_stop_right_after_the_last_training_step_is_not_lost() -> None:
    from inscape.training.stopping import interruptible

    with pytest.raises(KeyboardInterrupt), interruptible() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
