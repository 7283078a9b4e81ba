"""The user's cache: what can be made again, kept between runs.

It is the folder in INSCAPE_CACHE, else the platform's: ~/.cache/inscape (or $XDG_CACHE_HOME),
~/Library/Caches/inscape, %LOCALAPPDATA%\\inscape. All of it may be removed at any time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from inscape.core import StorageError
from inscape.storage.atomic import atomic_write

_SETTLED = 0.05  # seconds: within one tick of the clock a file can change unseen


def cache_folder() -> Path:
    """Where inscape keeps what it can make again; it need not be there yet."""
    chosen = os.environ.get("INSCAPE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "inscape"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/inscape"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "inscape"


def remembered(kind: str, files: Iterable[Path], find: Callable[[], str]) -> str:
    """`find()`, or what it gave before for the same `kind` and the very same files.

    Files are the same while path, size, times and inode are. Where the cache cannot be written,
    the answer is found anew each time. Raises OSError if a file is missing.
    """
    key, newest = hashlib.sha256(kind.encode()), 0.0
    for path in files:
        found = path.stat()
        newest = max(newest, found.st_mtime, found.st_ctime)
        state = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        key.update(f"\0{path.resolve()}\0{state}".encode(errors="surrogatepass"))
    place = cache_folder() / "known" / key.hexdigest()
    with suppress(OSError):
        if known := place.read_text(encoding="utf-8"):
            return known
    settled = time.time() - newest > _SETTLED
    answer = find()
    if settled:
        with suppress(StorageError, OSError):
            atomic_write(place, answer.encode())
    return answer
