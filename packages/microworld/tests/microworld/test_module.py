"""Modules that are run as commands end as the verbs do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inscape.core import InputError
from inscape_microworld.module import run_module


def ended(error: BaseException | None, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    def main() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as end:
        run_module(main)
    return end.value.code, capsys.readouterr().err


def test_a_mistake_is_one_line_and_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(None, capsys) == (0, "")
    code, said = ended(InputError("no\nsuch thing", expected="a thing"), capsys)
    assert (code, said) == (2, "inscape: no such thing; expected a thing\n")
    code, said = ended(KeyboardInterrupt(), capsys)
    assert (code, said.count("\n")) == (2, 1)
    assert "goes on where it was" in said


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    def main() -> None:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        run_module(main)


def test_the_dataset_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inscape_microworld.dataset", "--out", str(tmp_path / "new")]
    done = subprocess.run([*command, "--documents", "0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "inscape: 0 documents; expected at least one\n"
    assert not (tmp_path / "new").exists()
