"""Documents from text files, streamed and decoded strictly.

.txt   split on blank lines; without any, cut into runs of whole lines of about 2,000 characters (a
       longer line at its spaces).
.jsonl an object per line, with a field "text", or "messages" (chat messages with role and content)
       that go through the model's chat template.
.parquet the same as columns.
Another field than "text" is named after the path: corpus.jsonl#content. The first two may be
compressed (.gz), and in UTF-16 or UTF-32 with a byte-order mark. Input other than a regular file
(a pipe, `-` for standard input) is copied to disk first, since it is read more than once. The type
of a file with another suffix is detected from its first bytes.
"""

from __future__ import annotations

import atexit
import codecs
import gzip
import io
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from inscape.core import DataError, instance_of, short

Document: TypeAlias = "str | list[dict[str, str]]"
SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".parquet")
_CHUNK_CHARACTERS = 2000
_COPIES: dict[Path, Path] = {}  # of pipes: copy -> what the user named
_BOM = b"\xef\xbb\xbf"
_WIDE = {  # the longer marks first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_FIELDS = ("text", "messages")
_EXPECTED = 'a field "text", or "messages" with roles and contents'
FIELD_MARK = "#"
"""Between a path and the field that holds the text: corpus.jsonl#content."""


def documents(path: Path | str) -> Iterator[Document]:
    """The documents of a file, a pipe or a folder (in the order of its file names, subfolders
    included); chat messages come as a list.

    Raises:
        DataError: nothing is there, the corpus is empty, or a file is not UTF-8 (file and byte are
            named), not what its suffix says, or lacks a text (file and line are named).
    """
    instance_of((str, Path), path, "a corpus at", "a path")
    path = on_disk(Path(path))
    field, found = split_field(path)[1], False
    for file in corpus_files(path):
        for document in _READERS[_kind(file)](file, field):
            found = True
            yield document
    if not found:
        raise DataError(
            f"the corpus {_shown(path)} is empty",
            expected="text",
            next_step=f"give a file, or a folder of files ending in {', '.join(SUFFIXES)}",
        )


def split_field(path: Path) -> tuple[Path, str | None]:
    """The path without the name of a field, and that name, if there is one."""
    place, mark, field = str(path).rpartition(FIELD_MARK)
    if not mark or not place or os.path.lexists(path):
        return path, None
    return Path(place), field


def on_disk(path: Path) -> Path:
    """The path, or for a pipe and for `-` that of a copy, which is kept until the process ends."""
    place, field = split_field(path)
    if field is not None:
        return Path(f"{on_disk(place)}{FIELD_MARK}{field}")
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
    path, _ = split_field(path)
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
    except UnicodeError as error:  # of what begins with the mark of UTF-16 or UTF-32
        raise DataError(
            f"{_shown(file)} begins with a byte-order mark and is not what it says ({error})",
            expected="text in UTF-8, UTF-16 or UTF-32",
        ) from error
    except PermissionError as error:
        raise DataError(f"{_shown(file)} cannot be read: permission denied") from error


def _opened(file: Path) -> IO[bytes]:
    """The file's bytes, uncompressed; of UTF-16 and UTF-32 as UTF-8."""

    def opened() -> IO[bytes]:
        compressed = _magic(file).startswith(b"\x1f\x8b")
        return gzip.open(file) if compressed else open(file, "rb")  # type: ignore[return-value]

    with opened() as stream:
        start = stream.read(4)
    for mark, encoding in _WIDE.items():
        if start.startswith(mark):
            return _Recoded(opened(), encoding)  # type: ignore[return-value]
    return opened()


class _Recoded:
    """The lines of a file in another encoding as UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._text = io.TextIOWrapper(stream, encoding, newline="\n")

    def __enter__(self) -> _Recoded:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def __iter__(self) -> Iterator[bytes]:
        return (line.encode() for line in self._text)

    def read(self, size: int) -> bytes:
        return self._text.read(size).encode()


def _lines(file: Path) -> Iterator[str]:
    """Decoded lines with their line ends; what is no text is reported by its byte offset."""
    offset = 0
    with _readable(file), _opened(file) as stream:
        for number, line in enumerate(stream):
            raw = line.removeprefix(_BOM) if number == 0 else line
            place = offset + len(line) - len(raw)
            if (zero := raw.find(b"\0")) >= 0:
                raise DataError(
                    f"{_shown(file)} is a binary file (byte {place + zero} is 0)",
                    expected=f"text; files ending in {', '.join(SUFFIXES)} are read",
                    next_step="take it out of the corpus",
                )
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{_shown(file)} is not UTF-8 at byte {place + error.start} "
                    f"(0x{raw[error.start]:02x})",
                    expected=f"UTF-8 text; files ending in {', '.join(SUFFIXES)} are read",
                    next_step="convert the file, for example with iconv -f latin1 -t utf-8",
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


def _text(file: Path, field: str | None) -> Iterator[Document]:
    if field is not None:
        raise DataError(
            f"{_shown(file)} is plain text and has no field {field!r}",
            expected="the field of a .jsonl or .parquet file",
            next_step=f"leave {FIELD_MARK}{field} out",
        )
    limit = None if _has_blank_line(file) else _CHUNK_CHARACTERS
    held: list[str] = []
    size = 0
    for line in _lines(file) if limit is None else cut(_lines(file), limit):
        blank = not line.strip()
        if held and (blank or (limit is not None and size + len(line) > limit)):
            yield "".join(held).rstrip("\r\n")
            held, size = [], 0
        if not blank:
            held.append(line)
            size += len(line)
    if held:
        yield "".join(held).rstrip("\r\n")


def cut(lines: Iterable[str], limit: int) -> Iterator[str]:
    """Texts of at most `limit` characters, longer ones cut before their last space within that."""
    for line in lines:
        start = 0
        while len(line) - start > limit:
            space = line.rfind(" ", start + 1, start + limit)
            end = start + limit if space < 0 else space
            yield line[start:end]
            start = end
        yield line[start:]


def _jsonl(file: Path, field: str | None) -> Iterator[Document]:
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
        if document := _document(row, f"line {number} of {_shown(file)}", field):
            yield document


def _parquet(file: Path, field: str | None) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        opened = parquet.ParquetFile(file)
        names = opened.schema_arrow.names
        wanted = _FIELDS if field is None else (field,)
        columns = [name for name in wanted if name in names]
        if not columns:
            _document(dict.fromkeys(names), str(_shown(file)), field)
        number = 0
        for batch in opened.iter_batches(batch_size=1024, columns=columns):
            for row in batch.to_pylist():
                number += 1
                if document := _document(row, f"row {number} of {_shown(file)}", field):
                    yield document
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{_shown(file)} is no readable parquet file ({error})") from error


def _document(row: Any, where: str, field: str | None) -> Document | None:
    """The text or the messages of a row; None if they are blank."""
    given = row if isinstance(row, Mapping) else {}
    text, messages = given.get(field or "text"), given.get("messages")
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
    if field is not None or not whole or messages is None:
        named = ", ".join(short(str(name)) for name in list(given)[:12])
        missing = "text" if field is None else f"text in {short(field)}"
        known = f"; its fields are {named}" if named else ""
        raise DataError(
            f"{where} has no {missing}{known}",
            expected=f"an object with {_EXPECTED}",
            next_step=f"name the field that holds the text after the path: {PLACE}"
            if named
            else None,
        )
    return [{"role": m["role"], "content": m["content"]} for m in messages] or None


PLACE = f"corpus.jsonl{FIELD_MARK}FIELD"
_READERS = {"txt": _text, "jsonl": _jsonl, "parquet": _parquet}
