"""Documents from files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from inscape.activations import documents
from inscape.core import DataError


def test_blank_lines_separate_documents(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbf\n\none\ntwo\r\n \r\n\nthree\n")
    assert list(documents(file)) == ["one\ntwo", "three"]


def test_without_blank_lines_whole_lines_are_gathered(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    lines = [f"line {number} " + "x" * 90 for number in range(100)]
    file.write_text("\n".join(lines))
    found = list(documents(file))
    assert len(found) > 3
    assert "\n".join(found).split("\n") == lines
    assert all(len(text) <= 2000 for text in found)


def test_folders_and_jsonl(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n\n{"text": "three"}\n')
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.bin").write_text("not this")
    assert list(documents(tmp_path)) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"good\n\nna\xefve", r"byte 8 \(0xef\)"),
        (b"\xef\xbb\xbfab\xff", "byte 5"),
    ],
)
def test_bad_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(documents(file))
    assert "bad.txt" in str(caught.value)


def test_half_a_surrogate_pair_is_read_as_the_replacement_character(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a \\ud800 b"}\n{"text": "\\ud83d\\ude00"}\n')
    assert list(documents(tmp_path / "x.jsonl")) == ["a \ufffd b", "\U0001f600"]


def test_bad_jsonl_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(DataError, match=r"line 2 of .*x\.jsonl"):
        list(documents(tmp_path / "x.jsonl"))
    with pytest.raises(DataError, match="does not exist"):
        list(documents(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no text"):
        list(documents(tmp_path / "empty"))
