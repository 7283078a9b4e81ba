"""Saved results of an atlas: traces, diagnoses, steering, repairs; one versioned JSON file each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from inscape.core import InputError
from inscape.storage import plain, read_json, write_json

R = TypeVar("R")


class Results(Sequence[R], Generic[R]):
    """The results of one kind, oldest first; each is read when it is asked for.

    Args:
        folder: where they lie.
        read: makes a result from its JSON.
    """

    def __init__(self, folder: Path, read: Callable[[Any], R]) -> None:
        self.folder, self._read = folder, read

    @property
    def names(self) -> list[str]:
        """Their names, oldest first."""
        found = [path for path in self.folder.glob("*.json") if path.name[0] != "."]
        return [path.stem for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name))]

    def open(self, name: str) -> R:
        """The result called `name`.

        Raises:
            InputError: there is none of that name.
            StorageError: it is damaged, or of a newer version.
        """
        if name not in self.names:
            raise InputError(
                f"{self.folder} has no {name!r}",
                expected=f"one of {', '.join(self.names) or '(none yet)'}",
            )
        return self._read(read_json(self.folder / f"{name}.json"))

    def delete(self, name: str) -> None:
        """Removes the result called `name`."""
        self.open(name)
        (self.folder / f"{name}.json").unlink()

    def save(self, title: str, content: Any, *, key: str = "") -> Path:
        """Writes a result; the same `title` and `key` give the same file.

        Args:
            title: what the file is named after, such as the prompt.
            key: what else distinguishes it from other results of that title.
        """
        path = self.folder / f"{_slug(title, key)}.json"
        write_json(path, plain(content))
        return path

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[R]:
        return map(self.open, self.names)

    @overload
    def __getitem__(self, number: int) -> R: ...

    @overload
    def __getitem__(self, number: slice) -> list[R]: ...

    def __getitem__(self, number: int | slice) -> R | list[R]:
        chosen = self.names[number]
        return self.open(chosen) if isinstance(chosen, str) else list(map(self.open, chosen))

    def __repr__(self) -> str:
        return f"Results({self.names})"


def _slug(title: str, key: str) -> str:
    words = "-".join(re.findall(r"[A-Za-z0-9]+", title))[:48].strip("-").lower() or "untitled"
    return f"{words}-{hashlib.blake2b(f'{title}{key}'.encode(), digest_size=4).hexdigest()}"
