"""A repair: edits of features as a file, to be applied to the model again.

It names each dictionary and the hash of its weights, so that it is never applied to features that
are not the ones that it was made with, and the hash of the model that it was measured on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.intervention.edits import Edit, FeatureEdit, edits
from inscape.model import Model
from inscape.storage import read_json, write_json

SCHEMA, VERSION = "inscape.repair", 1


@dataclass(frozen=True)
class Change:
    """A feature edit without the dictionary itself: its name and the hash of its weights.

    mode, value, unit, positions: as in `FeatureEdit`.
    """

    dictionary: str
    dictionary_hash: str
    feature: int
    mode: str
    value: float = 0.0
    unit: float = 1.0
    positions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Repair:
    """Edits that turn wrong answers right.

    model: name of the model that it was made with; model_hash: that of its weights.
    about: where it comes from and what was measured (prompt, answers, benefit, damage).
    """

    changes: tuple[Change, ...]
    model: str
    model_hash: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, changes: Sequence[FeatureEdit], **about: Any) -> Repair:
        """The repair that these edits of `model` are."""
        made = tuple(
            Change(
                edit.dictionary.name,
                edit.dictionary.hash,
                edit.feature,
                edit.mode,
                edit.value,
                edit.unit,
                None if edit.positions is None else tuple(edit.positions),
            )
            for edit in changes
        )
        return cls(made, model.name, model.hash, about)

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
            found.append(
                FeatureEdit(
                    owner,
                    change.feature,
                    change.mode,  # type: ignore[arg-type]
                    change.value,
                    positions=change.positions,
                    unit=change.unit,
                )
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values, versioned."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "model": self.model,
            "model_hash": self.model_hash,
            "changes": [vars(change) for change in self.changes],
            "about": dict(self.about),
        }

    @classmethod
    def from_json(cls, content: Any) -> Repair:
        """The repair of such values.

        Raises:
            InputError: they are no repair, or one of a newer version.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise InputError("this is no repair", expected=f'a JSON object of schema "{SCHEMA}"')
        if content.get("version") != VERSION:
            raise InputError(
                f"found version {content.get('version')} of {SCHEMA}, this inscape reads {VERSION}",
                next_step="upgrade inscape",
            )
        try:
            changes = tuple(
                Change(**{**c, "positions": c["positions"] and tuple(c["positions"])})
                for c in content["changes"]
            )
            return cls(changes, content["model"], content["model_hash"], content["about"])
        except (KeyError, TypeError) as error:
            raise InputError(f"this repair is incomplete ({error})") from error

    def save(self, path: str | Path) -> None:
        """Writes the repair as JSON."""
        write_json(Path(path), self.to_json())

    @classmethod
    def open(cls, path: str | Path) -> Repair:
        """The repair in a file."""
        return cls.from_json(read_json(Path(path)))


@contextmanager
def edited(model: Model, changes: Sequence[Edit]) -> Iterator[Model]:
    """Within it, every run and every generated text of `model` is under these edits."""
    with model.standing_edits(edits(model, changes)):
        yield model
