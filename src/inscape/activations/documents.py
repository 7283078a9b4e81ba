"""Documents from text files, read as a stream and decoded strictly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from inscape.core import DataError

SUFFIXES = (".txt", ".jsonl")
_CHUNK_CHARACTERS = 2000
_BOM = b"\xef\xbb\xbf"


def documents(path: Path) -> Iterator[str]:
    """The documents of a corpus, in a fixed order.

    A .txt file is split on blank lines; one that has none is cut into runs of whole lines of about
    2,000 characters. A .jsonl file holds one object with a field "text" on each line. A folder is
    read in the order of its file names, subfolders included.

    Raises:
        DataError: nothing is there, the corpus is empty, or a file is not UTF-8 (file and byte are
            named) or not JSON (file and line are named).
    """
    found = False
    for file in corpus_files(path):
        read = _jsonl if file.suffix == ".jsonl" else _text
        for document in read(file):
            found = True
            yield document
    if not found:
        raise DataError(
            f"the corpus {path} is empty",
            expected="text",
            next_step="give a .txt or .jsonl file, or a folder of them, that holds text",
        )


def corpus_files(path: Path) -> list[Path]:
    """The files that `documents` reads, in its order.

    Raises:
        DataError: the path is not there, or a folder holds no such file.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"the corpus {path} does not exist", expected="a file or folder", next_step="check it"
        )
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in SUFFIXES)
    if not files:
        raise DataError(
            f"the folder {path} holds no text", expected=f"files ending in {' or '.join(SUFFIXES)}"
        )
    return files


def _lines(file: Path) -> Iterator[str]:
    """Decoded lines with their line ends; a byte that is no UTF-8 is named by its offset."""
    offset = 0
    try:
        with open(file, "rb") as stream:
            for number, line in enumerate(stream):
                raw = line.removeprefix(_BOM) if number == 0 else line
                try:
                    yield raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    place = offset + len(line) - len(raw) + error.start
                    raise DataError(
                        f"{file} is not UTF-8 at byte {place} (0x{raw[error.start]:02x})",
                        expected="UTF-8 text",
                        next_step="convert the file, for example with iconv -t utf-8",
                    ) from error
                offset += len(line)
    except PermissionError as error:
        raise DataError(f"{file} cannot be read: permission denied") from error


def _has_blank_line(file: Path) -> bool:
    with open(file, "rb") as stream:
        seen_text = False
        for line in stream:
            blank = not line.strip()
            if blank and seen_text:
                return True
            seen_text = seen_text or not blank
    return False


def _text(file: Path) -> Iterator[str]:
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


def _jsonl(file: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"line {number} of {file} has no text", expected='an object with a field "text"'
            ) from error
        if not isinstance(text, str):
            raise DataError(f'"text" on line {number} of {file} is no string')
        if text.strip():  # half of a surrogate pair, which JSON can hold, becomes U+FFFD
            yield text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
