"""Documents from files, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
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


def test_bad_jsonl_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(DataError, match=r"line 2 of .*x\.jsonl"):
        list(documents(tmp_path / "x.jsonl"))
    with pytest.raises(DataError, match="does not exist"):
        list(documents(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no text"):
        list(documents(tmp_path / "empty"))


CHAT = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
ROWS = [{"text": "one two"}, {"text": " "}, {"messages": CHAT}]


def test_compressed_files_and_tables(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(lines)
    table = {"text": ["one two", " ", None], "messages": [None, None, CHAT], "id": [1, 2, 3]}
    parquet.write_table(pa.table(table), tmp_path / "b.parquet")
    (tmp_path / "unnamed").write_bytes((tmp_path / "a.jsonl.gz").read_bytes())
    for name in ("a.jsonl.gz", "b.parquet", "unnamed"):
        assert list(documents(tmp_path / name)) == ["one two", CHAT], name
    assert len(list(documents(tmp_path))) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("one\n\ntwo",))
    writer.start()
    assert list(documents(pipe)) == ["one", "two"]
    writer.join()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "three"}\n')))
    assert list(documents("-")) == ["three"]
    with pytest.raises(DataError, match=f"the corpus {os.devnull} is empty"):
        list(documents(Path(os.devnull)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": 5}')))
    with pytest.raises(DataError, match="^line 1 of - has no text"):
        list(documents("-"))


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.txt.gz"
    cut.write_bytes(gzip.compress(b"one two three" * 100)[:40])
    table = tmp_path / "x.parquet"
    table.write_bytes(b"PAR1 nothing")
    other = tmp_path / "y.parquet"
    parquet.write_table(pa.table({"id": [1]}), other)
    half = tmp_path / "half.jsonl"
    half.write_text('{"text": "a"}\n{"text": "b \\ud800"}\n')
    deep = tmp_path / "deep.jsonl"
    deep.write_text("[" * 100_000)
    roles = tmp_path / "roles.jsonl"
    roles.write_text('{"messages": [{"role": "user"}]}')
    for file, said in (
        (cut, "no whole gzip file"),
        (table, "no readable parquet"),
        (other, "row 1 of .*y.parquet has no text"),
        (half, "line 2 of .* half of a surrogate"),
        (deep, "line 1 of .* no JSON"),
        (roles, "line 1 of .* no text"),
    ):
        with pytest.raises(DataError, match=said):
            list(documents(file))
