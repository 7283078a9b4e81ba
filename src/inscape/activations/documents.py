"""Documents from text files, streamed and decoded strictly.

.txt   split on blank lines; without any, cut into runs of whole lines of about 2,000 characters.
.jsonl an object per line, with a field "text", or "messages" (chat messages with role and content)
       that go through the model's chat template.
.parquet the same as columns.
The first two may be compressed (.gz). Input other than a regular file (a pipe, `-` for standard
input) is copied to disk first, since it is read more than once. The type of a file with another
suffix is detected from its first bytes.
"""

from __future__ import annotations

import atexit
import gzip
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from inscape.core import DataError, instance_of

Document: TypeAlias = "str | list[dict[str, str]]"
SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".parquet")
_CHUNK_CHARACTERS = 2000
_COPIES: dict[Path, Path] = {}  # of pipes: copy -> what the user named
_BOM = b"\xef\xbb\xbf"
_FIELDS = ("text", "messages")
_EXPECTED = 'a field "text", or "messages" with roles and contents'


def documents(path: Path | str) -> Iterator[Document]:
    """The documents of a file, a pipe or a folder (in the order of its file names, subfolders
    included); chat messages come as a list.

    Raises:
        DataError: nothing is there, the corpus is empty, or a file is not UTF-8 (file and byte are
            named), not what its suffix says, or lacks a text (file and line are named).
    """
    instance_of((str, Path), path, "a corpus at", "a path")
    path = on_disk(Path(path))
    found = False
    for file in corpus_files(path):
        for document in _READERS[_kind(file)](file):
            found = True
            yield document
    if not found:
        raise DataError(
            f"the corpus {_shown(path)} is empty",
            expected="text",
            next_step=f"give a file, or a folder of files ending in {', '.join(SUFFIXES)}",
        )


def on_disk(path: Path) -> Path:
    """The path, or for a pipe and for `-` that of a copy, which is kept until the process ends."""
    if str(path) == "-":
        return _copied(path, sys.stdin.buffer)
    try:
        if not path.exists() or path.is_file() or path.is_dir():
            return path
        with open(path, "rb") as stream:
            return _copied(path, stream)
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied") from error


def _copied(path: Path, stream: IO[bytes]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="inscape-text-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / (path.name if path.suffix else f"{path.name}.stream")
    with open(copy, "wb") as file:
        shutil.copyfileobj(stream, file)
    _COPIES[copy] = path
    return copy


def _shown(file: Path) -> Path:
    """What the user named: of a pipe not its copy."""
    return _COPIES.get(file, file)


def corpus_files(path: Path) -> list[Path]:
    """The files that `documents` reads, in its order.

    Raises:
        DataError: the path is not there, or a folder holds no such file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"the corpus {path} does not exist", expected="a file or folder", next_step="check it"
        )
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES))
    if not files:
        raise DataError(
            f"the folder {path} holds no text", expected=f"files ending in {', '.join(SUFFIXES)}"
        )
    return files


def text_bytes(file: Path) -> int:
    """An estimate of the bytes of text in a file, without reading it."""
    size = file.stat().st_size
    if _kind(file) == "parquet":
        import pyarrow.parquet as parquet

        groups = parquet.ParquetFile(file).metadata
        return sum(groups.row_group(n).total_byte_size for n in range(groups.num_row_groups))
    if _magic(file).startswith(b"\x1f\x8b") and size > 4:
        with open(file, "rb") as stream:
            stream.seek(-4, os.SEEK_END)
            return int.from_bytes(stream.read(4), "little")
    return size


def _magic(file: Path) -> bytes:
    with _readable(file), open(file, "rb") as stream:
        return stream.read(4)


def _kind(file: Path) -> str:
    """txt, jsonl or parquet: by the name, else by the first bytes."""
    name = file.name.removesuffix(".gz")
    for kind in _READERS:
        if name.endswith(f".{kind}"):
            return kind
    if _magic(file) == b"PAR1":
        return "parquet"
    with _readable(file), _opened(file) as stream:
        return "jsonl" if stream.read(64).removeprefix(_BOM).lstrip().startswith(b"{") else "txt"


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{_shown(file)} is no whole gzip file ({error})") from error
    except PermissionError as error:
        raise DataError(f"{_shown(file)} cannot be read: permission denied") from error


def _opened(file: Path) -> IO[bytes]:
    compressed = _magic(file).startswith(b"\x1f\x8b")
    return gzip.open(file) if compressed else open(file, "rb")  # type: ignore[return-value]


def _lines(file: Path) -> Iterator[str]:
    """Decoded lines with their line ends; invalid UTF-8 is reported by its byte offset."""
    offset = 0
    with _readable(file), _opened(file) as stream:
        for number, line in enumerate(stream):
            raw = line.removeprefix(_BOM) if number == 0 else line
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                place = offset + len(line) - len(raw) + error.start
                raise DataError(
                    f"{_shown(file)} is not UTF-8 at byte {place} (0x{raw[error.start]:02x})",
                    expected=f"UTF-8 text; files ending in {', '.join(SUFFIXES)} are read",
                    next_step="convert the file, for example with iconv -t utf-8",
                ) from error
            offset += len(line)


def _has_blank_line(file: Path) -> bool:
    with _readable(file), _opened(file) as stream:
        seen_text = False
        for line in stream:
            blank = not line.strip()
            if blank and seen_text:
                return True
            seen_text = seen_text or not blank
    return False


def _text(file: Path) -> Iterator[Document]:
    limit = None if _has_blank_line(file) else _CHUNK_CHARACTERS
    held: list[str] = []
    size = 0
    for line in _lines(file):
        blank = not line.strip()
        if held and (blank or (limit is not None and size + len(line) > limit)):
            yield "".join(held).rstrip("\r\n")
            held, size = [], 0
        if not blank:
            held.append(line)
            size += len(line)
    if held:
        yield "".join(held).rstrip("\r\n")


def _jsonl(file: Path) -> Iterator[Document]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"line {number} of {_shown(file)} is no JSON",
                expected=f"an object with {_EXPECTED}",
            ) from error
        if document := _document(row, f"line {number} of {_shown(file)}"):
            yield document


def _parquet(file: Path) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        opened = parquet.ParquetFile(file)
        columns = [name for name in _FIELDS if name in opened.schema_arrow.names]
        number = 0
        for batch in opened.iter_batches(batch_size=1024, columns=columns):
            for row in batch.to_pylist():
                number += 1
                if document := _document(row, f"row {number} of {_shown(file)}"):
                    yield document
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{_shown(file)} is no readable parquet file ({error})") from error


def _document(row: Any, where: str) -> Document | None:
    """The text or the messages of a row; None if they are blank."""
    given = row if isinstance(row, Mapping) else {}
    text, messages = given.get("text"), given.get("messages")
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"the text on {where} holds half of a surrogate pair") from error
        return text if text.strip() else None
    whole = isinstance(messages, list) and all(
        isinstance(m, Mapping) and all(isinstance(m.get(k), str) for k in ("role", "content"))
        for m in messages
    )
    if not whole or messages is None:
        raise DataError(f"{where} has no text", expected=f"an object with {_EXPECTED}")
    return [{"role": m["role"], "content": m["content"]} for m in messages] or None


_READERS = {"txt": _text, "jsonl": _jsonl, "parquet": _parquet}
