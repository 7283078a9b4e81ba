"""One writer at a time for a folder; readers need no lock."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from inscape.core import StorageError
from inscape.storage.atomic import disk_errors

try:
    fcntl: Any = import_module("fcntl")
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FAR = 1 << 30  # Windows keeps others from reading the byte that is locked: one behind the content


def _held(text: str) -> dict[str, Any] | None:
    """What the holder of a lock wrote into it, None where that was not inscape."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"process", "host", "since"} <= set(found) else None


def is_lock(path: Path) -> bool:
    """Whether a file is a lock of inscape; a process that was killed may have left it empty."""
    try:
        text = path.read_text() if path.name == LOCK and path.is_file() else "no lock"
    except (OSError, ValueError):
        return False
    return not text or _held(text) is not None


def _refuse_held(folder: Path, descriptor: int) -> None:
    """Takes the lock without waiting; StorageError if another process holds it."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt: Any = import_module("msvcrt")
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError) as error:
        os.lseek(descriptor, 0, os.SEEK_SET)
        held = _held(os.read(descriptor, 4096).decode(errors="replace"))
        who = "another process"
        if held is not None:
            who = f"process {held['process']} on {held['host']} since {held['since']}"
        raise StorageError(
            f"{folder} is being written by {who}", next_step="wait until it ends, or stop it"
        ) from error


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds the writer's lock of `folder`, which is made if it is not there. The operating system
    drops the lock when its process ends, however it ends.

    Raises:
        StorageError: another writer holds the lock (it is named), or the file that would be the
            lock is not inscape's.
    """
    folder = Path(folder)
    path = folder / LOCK
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not is_lock(path)):
            raise StorageError(
                f"{path} is not the lock that inscape writes into {folder}",
                next_step="move it away, or choose another folder",
            )
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
    try:
        _refuse_held(folder, descriptor)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
        with disk_errors(folder):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        os.close(descriptor)
