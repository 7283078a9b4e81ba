"""The saved results of an atlas: one folder a kind, one file a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

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

    @overload
    def __getitem__(self, number: int) -> R: ...

    @overload
    def __getitem__(self, number: slice) -> list[R]: ...

    def __getitem__(self, number: int | slice) -> R | list[R]:
        chosen = self.names[number]
        return self.open(chosen) if isinstance(chosen, str) else [self.open(n) for n in chosen]

    def __repr__(self) -> str:
        names = self.names
        shown = ", ".join(names if len(names) < 4 else [*names[:2], "...", names[-1]])
        return f"Results({len(names)}: {shown})" if names else "Results(none yet)"
