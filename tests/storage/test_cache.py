"""The user's cache: where it is, and when a remembered answer holds."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from inscape.storage import cache_folder, remembered


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("INSCAPE_CACHE", str(tmp_path / "cache"))
    return []


def ask(path: Path, calls: list[str], kind: str = "length") -> str:
    def find() -> str:
        calls.append(kind)
        return str(len(path.read_bytes()))

    return remembered(kind, [path], find)


def settled(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    time.sleep(0.06)


def test_an_answer_holds_until_the_file_changes(tmp_path: Path, calls: list[str]) -> None:
    path = tmp_path / "file"
    settled(path, b"abc")
    assert [ask(path, calls), ask(path, calls)] == ["3", "3"]
    assert calls == ["length"]
    assert ask(path, calls, "other") == "3"
    assert len(calls) == 2
    before = path.stat()
    settled(path, b"abd")  # the same size; and the former time, as rsync or touch -r leave it
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ask(path, calls)
    assert len(calls) == 3


def test_a_file_just_written_is_not_trusted(tmp_path: Path, calls: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    os.utime(path, (time.time() + 5, time.time() + 5))
    ask(path, calls)
    ask(path, calls)
    assert len(calls) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    settled(path, b"abc")
    monkeypatch.setenv("INSCAPE_CACHE", str(path))  # a file is in the way
    assert [ask(path, calls), ask(path, calls)] == ["3", "3"]
    assert len(calls) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the places of Linux")
def test_the_cache_is_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSCAPE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "inscape"
    monkeypatch.setenv("INSCAPE_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
