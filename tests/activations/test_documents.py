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
from tests.families import tiny, tiny_tokenizer

from inscape.activations import documents
from inscape.activations.corpus import Corpus
from inscape.core import DataError
from inscape.model import Model


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
        (other, "y.parquet has no text; its fields are 'id'"),
        (half, "line 2 of .* half of a surrogate"),
        (deep, "line 1 of .* no JSON"),
        (roles, "line 1 of .* no text"),
    ):
        with pytest.raises(DataError, match=said):
            list(documents(file))


def test_a_text_in_another_field_is_named(tmp_path: Path) -> None:
    rows = [{"id": "a", "content": "one"}, {"id": "b", "content": "two"}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "y.parquet")
    for name in ("x.jsonl", "y.parquet"):
        assert list(documents(f"{tmp_path / name}#content")) == ["one", "two"]
        with pytest.raises(
            DataError, match=r"no text; its fields are 'id', 'content'; .*corpus\.jsonl#FIELD"
        ):
            list(documents(tmp_path / name))
        with pytest.raises(DataError, match="no text in 'body'; its fields are 'id', 'content'"):
            list(documents(f"{tmp_path / name}#body"))
    assert list(documents(f"{tmp_path}/#content")) == ["one", "two"] * 2
    (tmp_path / "b#1.txt").write_text("three")  # a file that is called so
    assert list(documents(tmp_path / "b#1.txt")) == ["three"]
    with pytest.raises(DataError, match="is plain text and has no field 'content'"):
        list(documents(f"{tmp_path / 'b#1.txt'}#content"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be"])
def test_other_encodings_are_read_by_their_mark(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tmp_path / "a.txt").write_bytes(f"{mark}na\xefve\u2028\n\nzwei\n".encode(encoding))
    assert list(documents(tmp_path / "a.txt")) == ["na\xefve\u2028", "zwei"]
    line = mark + json.dumps({"text": "\u5bff\u53f8"}, ensure_ascii=False)
    (tmp_path / "plain").write_bytes(line.encode(encoding))
    assert list(documents(tmp_path / "plain")) == ["\u5bff\u53f8"]
    (tmp_path / "half.txt").write_bytes(f"{mark}one".encode(encoding)[:-1])
    with pytest.raises(DataError, match=r"half\.txt begins with a byte-order mark and is not"):
        list(documents(tmp_path / "half.txt"))


def test_a_binary_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_bytes(b"GIF89a\0\1")
    (tmp_path / "more.jsonl").write_text('{"text": "a"}')
    with pytest.raises(DataError, match=r"image\.txt is a binary file \(byte 6 is 0\)"):
        list(documents(tmp_path))


def test_one_very_long_line_is_cut_at_its_spaces(tmp_path: Path) -> None:
    text = "word " * 2_000_000 + "x" * 5000
    (tmp_path / "a.txt").write_text(text)
    found = list(documents(tmp_path / "a.txt"))
    assert "".join(found) == text
    assert 1500 < max(map(len, found)) <= 2000
    assert sum(not part.startswith((" ", "word", "x")) for part in found) == 0
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    assert list(documents(tmp_path / "a.jsonl")) == [text]


def test_a_very_long_document_is_tokenised_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer(), bos="always")
    text = " ".join(["the cat sat on the mat"] * 60)
    ((whole, _),) = Corpus(model, [text]).tokenised()
    monkeypatch.setattr("inscape.activations.corpus.LONGEST_TEXT", 100)
    ((parts, words),) = Corpus(model, [text]).tokenised()
    assert parts == whole
    assert len(words) == len(parts)
    assert model.bos_id not in parts
