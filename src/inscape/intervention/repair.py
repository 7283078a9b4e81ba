"""A repair: edits of features as a file, to be applied to the model again.

It names each dictionary and the hash of its weights, so that it is never applied to features that
are not the ones that it was made with, and the hash of the model that it was measured on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.intervention.edits import Edit, FeatureEdit, FeatureMode, edits
from inscape.model import Model
from inscape.storage import Result, read_json, refuse_file, write_json


@dataclass(frozen=True)
class Change:
    """A feature edit without the dictionary itself: its name and the hash of its weights.

    mode, value, unit, positions: as in `FeatureEdit`.
    """

    dictionary: str
    dictionary_hash: str
    feature: int
    mode: FeatureMode
    value: float = 0.0
    unit: float = 1.0
    positions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Repair(Result):
    """Edits that turn wrong answers right.

    model: name of the model that it was made with; model_hash: that of its weights.
    about: where it comes from and what was measured (prompt, answers, benefit, damage).
    """

    SCHEMA: ClassVar[str] = "inscape.repair"
    MADE_BY: ClassVar[str] = "diagnose"

    changes: tuple[Change, ...]
    model: str
    model_hash: str
    about: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Repair({self.model!r}, {len(self.changes)} changes)"

    @classmethod
    def of(cls, model: Model, changes: Sequence[FeatureEdit], **about: Any) -> Repair:
        """The repair that these edits of `model` are."""

        def change(edit: FeatureEdit) -> Change:
            one, where = edit.dictionary, edit.positions
            places = None if where is None else tuple(where)
            return Change(
                one.name, one.hash, edit.feature, edit.mode, edit.value, edit.unit, places
            )

        return cls(tuple(map(change, changes)), model.name, model.hash, about)

    def edits(self, dictionary: Callable[[str], Dictionary]) -> list[FeatureEdit]:
        """The edits again, with the dictionaries that `dictionary` finds by name.

        Raises:
            InputError: a dictionary is not the one that the repair was made with.
        """
        found = []
        for change in self.changes:
            owner = dictionary(change.dictionary)
            if owner.hash != change.dictionary_hash:
                raise InputError(
                    f"dictionary {change.dictionary!r} has other weights than the repair names",
                    expected="the dictionary that the repair was made with",
                )
            rest = change.mode, change.value, change.positions, change.unit
            found.append(FeatureEdit(owner, change.feature, *rest))
        return found

    def save(self, path: str | Path) -> None:
        """Writes the repair as JSON.

        Raises:
            InputError: something else is at `path` already.
        """
        refuse_file(Path(path), rf'"schema":\s*"{self.SCHEMA}"')
        write_json(Path(path), self.to_json())

    @classmethod
    def open(cls, path: str | Path) -> Repair:
        """The repair in a file."""
        return cls.from_json(read_json(Path(path), given=True))


@contextmanager
def edited(model: Model, changes: Sequence[Edit]) -> Iterator[Model]:
    """Within it, every run and every generated text of `model` is under these edits."""
    with model.standing_edits(edits(model, changes)):
        yield model
