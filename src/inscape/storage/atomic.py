"""Writes that are there as a whole or not at all, and never in place of what is not ours.

1. Everything is written under a temporary, hidden name next to its final one.
2. The bytes are forced to disk, then the temporary name is renamed to the final one.
3. On any error, Ctrl-C included, what is temporary is removed; what was there before stays.
4. A folder that is there is replaced only where the caller knows that inscape made all of it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from inscape.core import InputError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# A folder that cannot be made (or was removed meanwhile) ends in ENOENT.
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EBUSY,
    errno.EINVAL,
}
_TEMPORARY = "writing"
_REPLACED = "replaced"
_READER_SECONDS = 10.0  # how long a pipe without a reader is waited for

Ours = Callable[[Path], bool]


def nothing(path: Path) -> bool:
    """The rule by which nothing that is there may be replaced."""
    return False


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the system says about writing `path` into a StorageError."""
    home = path.parts[0] if path.parts else ""
    if home.startswith("~") and not Path(home).exists():
        raise StorageError(
            f"{path} begins with {home}, which only a shell without quotes replaces by a folder",
            expected="a path without it",
            next_step="give the path in full",
        )
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors writes files itself, and leaves the number in its text alone.
        found = re.search(r"os error (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
        if number in _FULL:
            raise StorageError(
                f"no space left on the disk of {path}",
                next_step="free some space and run the same command again: it goes on where it was",
            ) from error
        if number in _REFUSED:
            raise StorageError(
                f"cannot write {path}: {os.strerror(number)}",
                next_step="choose a folder that you may write to",
            ) from error
        if number in (errno.ENOTDIR, errno.EEXIST):
            raise StorageError(
                f"cannot write {path}: a file of that name is in the way",
                next_step="choose another path or move that file",
            ) from error
        raise


def temporary_name(path: Path, number: str = "", what: str = _TEMPORARY) -> Path:
    """The hidden name under which `path` is written; `number` (8 characters) where processes have
    to agree on it. Only inscape gives such names: the last digits follow from the rest."""
    number = number or uuid.uuid4().hex[:8]
    return path.with_name(f".{path.name}.{what}-{number}{_check(path.name, number)}")


def _check(name: str, number: str) -> str:
    return hashlib.blake2b(f"{name}/{number}".encode(errors="replace"), digest_size=3).hexdigest()


def is_temporary(name: str) -> bool:
    """Whether a file or folder name is one that only an unfinished write of inscape has."""
    found = re.fullmatch(rf"\.(.+)\.(?:{_TEMPORARY}|{_REPLACED})-(.{{8}})([0-9a-f]{{6}})", name)
    return found is not None and _check(found[1], found[2]) == found[3]


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which appears at `path` when the block ends without error.

    A link is followed; a device or a pipe is written into.

    Raises:
        StorageError: the disk is full or may not be written to, or nobody reads the pipe.
    """
    with disk_errors(Path(path)):
        if _written_through(Path(path)):
            with open(_connected(Path(path)), "ab") as file:
                yield file
            return
        place = Path(os.path.realpath(path))
        if place.is_dir():
            raise StorageError(f"{path} is a folder", expected="the name of a file to write")
        if place.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        temporary = temporary_name(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _written_through(path: Path) -> bool:
    """Whether `path` is a device, a pipe or the like, as /dev/stdout is wherever it leads."""
    if path.is_absolute() and path.parts[1:2] == ("dev",):
        return True
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return False


def _connected(path: Path) -> int | Path:
    """A pipe opened once it has a reader; any other path as it is."""
    if not stat.S_ISFIFO(path.stat().st_mode):
        return path
    until = time.monotonic() + _READER_SECONDS
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > until:
                raise StorageError(
                    f"nobody reads the pipe {path}", next_step="start its reader first"
                ) from error
            time.sleep(0.05)
            continue
        os.set_blocking(descriptor, True)
        return descriptor


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
    # Half of a surrogate pair, as a broken text may hold, becomes JSON's own escape.
    atomic_write(path, text.encode(errors="backslashreplace") + b"\n")


def read_json(path: Path, *, given: bool = False) -> Any:
    """The content of a JSON file. given: the user named it, so that it may be anything else: nobody
    is told to remove it.

    Raises:
        StorageError: the file is missing, may not be read, or is not JSON.
    """
    path = Path(path)
    remedy = "remove it and run the command that makes it again"
    another = "give another file, if that is not what you meant"
    with reading(path, another if given else remedy, ValueError):
        try:
            return json.loads(path.read_bytes())
        except RecursionError as error:
            raise StorageError(f"{path} is nested too deeply", expected="a JSON file") from error


@contextmanager
def reading(path: Path, next_step: str, *damaged: type[Exception]) -> Iterator[None]:
    """Turns what reading `path` raises into a StorageError: it is missing, may not be read, or (an
    error of a type in `damaged`) is damaged, for which `next_step` is the remedy."""
    try:
        # Libraries that open it themselves do not all say why they could not.
        if path.is_file():
            with open(path, "rb"):
                pass
        elif _written_through(path):
            raise StorageError(f"{path} is a pipe or a device", expected="a file")
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(
            f"{path} does not exist", next_step="check the path, or make it first"
        ) from error
    except PermissionError as error:
        raise StorageError(
            f"{path} may not be read", next_step="give yourself the permission to read it"
        ) from error
    except IsADirectoryError as error:
        raise StorageError(f"{path} is a folder", expected="a file") from error
    except damaged as error:
        what = "is not readable as JSON, it may be" if path.suffix == ".json" else "is"
        why = "" if path.suffix == ".json" else f" ({' '.join(str(error).split())})"
        raise StorageError(
            f"{path} {what} half-written or corrupt{why}", next_step=next_step
        ) from error


def clean_temporary(parent: Path, name: str) -> None:
    """Removes what interrupted writes of `name` left in `parent`.

    If a folder was being replaced at that moment, the former one is put back first.
    """
    target = parent / name
    left = [path for path in parent.iterdir() if is_temporary(path.name)]
    for path in left:
        if path.name.startswith(f".{name}.{_REPLACED}-") and not target.exists():
            os.rename(path, target)
        elif path.name.startswith((f".{name}.{_REPLACED}-", f".{name}.{_TEMPORARY}-")):
            remove(path)


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it, as far as that can be done."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def refuse_filled(path: Path, ours: Ours = nothing) -> None:
    """InputError where a folder is to be written and something is there already, unless that is an
    empty folder, or `ours` says that inscape made all of it."""
    with disk_errors(path):
        if not path.exists():
            return
        if path.is_dir() and (not any(path.iterdir()) or ours(path)):
            return
    raise InputError(
        f"{path} is there already" + ("" if path.is_dir() else ", and is a file"),
        expected="a new folder, or an empty one",
        next_step="choose another name, or move away what is there",
    )


def refuse_file(path: Path, mark: str) -> None:
    """InputError where a file is to be written and another one is there already; one whose text
    holds the regular expression `mark` was made by inscape, and may be replaced."""
    with disk_errors(path):
        if path.is_dir():
            raise StorageError(f"{path} is a folder", expected="the name of a file to write")
        if not path.exists() or _written_through(path) or not path.stat().st_size:
            return
        if re.search(mark.encode(), path.read_bytes()):
            return
    raise InputError(
        f"{path} is there already, and this command did not write it",
        expected="a new file",
        next_step="choose another name, or move that file away",
    )


@contextmanager
def atomic_folder(path: Path, ours: Ours = nothing) -> Iterator[Path]:
    """A new empty folder to fill, which appears at `path` when the block ends without error.

    What is at `path` already stays as it is, and is an error, but for an empty folder, and for one
    of which `ours` says that it may be replaced as a whole (see `artefact`). A link is followed.
    One writer at a time (hold `lock` on the parent).

    Raises:
        InputError: something else is there.
        StorageError: the disk is full or may not be written to.
    """
    refuse_filled(Path(path), ours)
    with disk_errors(Path(path)):
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        clean_temporary(place.parent, place.name)
        temporary = temporary_name(place)
        temporary.mkdir()
    try:
        with disk_errors(Path(path)):
            yield temporary
            refuse_filled(place, ours)  # it may have been filled meanwhile
            _put_in_place(temporary, place)
    finally:
        remove(temporary)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Renames `temporary` to `path`; a folder that is there steps aside first."""
    if not path.exists():
        os.rename(temporary, path)
        return
    if not any(path.iterdir()):
        # The empty folder itself stays: it may be a mount, or where the user's shell is. Manifests
        # are moved last: a folder without one is unfinished.
        for _, name in sorted((part.suffix == ".json", part.name) for part in temporary.iterdir()):
            os.rename(temporary / name, path / name)
        return
    aside = temporary_name(path, what=_REPLACED)
    os.rename(path, aside)
    os.rename(temporary, path)
    remove(aside)
