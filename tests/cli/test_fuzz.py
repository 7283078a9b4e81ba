"""A few of the random command lines of `python -m benchmarks.fuzz`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name != "posix", reason="lines run in forked processes")
def test_random_command_lines_lose_nothing_and_end_in_one_line(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz", "--lines", "60", "--seed", "16"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 lines: files changed or gone 0; tracebacks 0; hangs 0" in done.stdout
