"""Saved results of an atlas: traces, diagnoses, steering, repairs; one versioned JSON file each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from inscape.core import InputError
from inscape.storage import read_json

R = TypeVar("R")


class Results(Generic[R]):
    """The results of one kind in a folder, oldest first; `read` makes each from its JSON when it is
    asked for."""

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

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[R]:
        return map(self.open, self.names)

    def __getitem__(self, number: int) -> R:
        return self.open(self.names[number])

    def __repr__(self) -> str:
        return f"Results({self.names})"
