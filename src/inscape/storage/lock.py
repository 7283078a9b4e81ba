"""One writer at a time for a folder; readers need no lock."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inscape.core import StorageError
from inscape.storage.atomic import disk_errors

LOCK = ".lock"


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text())
        return f"process {held['process']} on {held['host']} since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds the writer's lock of `folder`, which is made if it is not there.

    The operating system drops the lock when its process ends, however it ends, so a
    killed writer leaves nothing to clean up.

    Raises:
        StorageError: another writer holds the lock; it is named.
    """
    folder = Path(folder)
    path = folder / LOCK
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{folder} is being written by {_holder(path)}",
                next_step="wait until it ends, or stop it",
            ) from error
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
        with disk_errors(folder):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)
