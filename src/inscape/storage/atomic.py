"""Writes that are there as a whole or not at all.

1. Everything is written under a temporary, hidden name beside its final one.
2. The bytes are forced to disk, then the temporary name is renamed to the final one.
3. On any error, Ctrl-C included, what is temporary is removed; what was there before stays.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from inscape.core import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# A folder that cannot be made (or was removed meanwhile) ends in ENOENT.
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENAMETOOLONG}
_TEMPORARY = ".writing-"
_REPLACED = ".replaced-"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns a full or read-only disk under `path` into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"no space left on the disk of {path}",
                next_step="free some space and run the same command again: it goes on where it was",
            ) from error
        if error.errno in _REFUSED:
            raise StorageError(
                f"cannot write {path}: {os.strerror(error.errno)}",
                next_step="choose a folder that you may write to",
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StorageError(
                f"cannot write {path}: a file of that name is in the way",
                next_step="choose another path or move that file",
            ) from error
        raise


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{_TEMPORARY}{uuid.uuid4().hex[:12]}")


def is_temporary(name: str) -> bool:
    """Whether a file or folder name is one that only an unfinished write has."""
    return name.startswith(".") and (_TEMPORARY in name or _REPLACED in name)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which appears at `path` when the block ends without error.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path} is a folder", expected="the name of a file to write")
    temporary = _temporary(path)
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write(path: Path, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    with atomic_file(path) as file:
        file.write(data)


def write_json(path: Path, obj: Any) -> None:
    """Writes `obj` as indented JSON, whole or not at all; NaN and infinity are refused."""
    text = json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        StorageError: the file is missing, or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(
            f"{path} does not exist", next_step="check the path, or make it first"
        ) from error
    except IsADirectoryError as error:
        raise StorageError(f"{path} is a folder", expected="a JSON file") from error
    except ValueError as error:
        raise StorageError(
            f"{path} is not readable as JSON, it may be half-written",
            next_step="remove it and run the command that makes it again",
        ) from error


def clean_temporary(parent: Path, name: str) -> None:
    """Removes what interrupted writes of `name` left in `parent`.

    If a folder was being replaced at that moment, the former one is put back first.
    """
    target = parent / name
    for left in parent.glob(f".{name}{_REPLACED}*"):
        if target.exists():
            shutil.rmtree(left, ignore_errors=True)
        else:
            os.rename(left, target)
    for left in parent.glob(f".{name}{_TEMPORARY}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new empty folder to fill, which appears at `path` when the block ends without error.

    A folder that is already at `path` is replaced as a whole; one writer at a time (hold
    `lock` on the parent). On error, what was at `path` before stays as it was.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    path = Path(path)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_temporary(path.parent, path.name)
        temporary = _temporary(path)
        temporary.mkdir()
    try:
        with disk_errors(path):
            yield temporary
            _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Renames `temporary` to `path`; a folder that is there steps aside first."""
    if not path.exists():
        os.rename(temporary, path)
        return
    if not path.is_dir():
        raise StorageError(f"{path} is a file", expected="a folder or a free name")
    aside = path.with_name(f".{path.name}{_REPLACED}{uuid.uuid4().hex[:12]}")
    os.rename(path, aside)
    os.rename(temporary, path)
    shutil.rmtree(aside, ignore_errors=True)
