"""An atlas: the folder with all that is known of one model.

atlas.json                  schema version, model, what the atlas was made from
activations/corpus/         the activation store
dictionaries/<name>/        resid<L> at resid_post.L, mlp<L> from mlp_in.L to mlp_out.L
features/<name>/            the feature index of a dictionary
labels/<name>/              its labels
traces/  diagnoses/         JSON, one file each

Readers need no lock; whatever writes holds the atlas's lock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import inscape
from inscape.core import InputError, ModelError, StorageError
from inscape.dictionary import Dictionary
from inscape.features import FeatureIndex
from inscape.labels import Labels
from inscape.model import Model
from inscape.storage import plain, read_manifest, write_json

if TYPE_CHECKING:
    from inscape.activations import ActivationStore

KIND = "atlas"
VERSION = 1
FILE = "atlas.json"


class Atlas:
    """An atlas on disk. Made by `build` or `Atlas.create`, opened by `Atlas.open`.

    Attributes:
        path: its folder.
        record: the content of atlas.json.
    """

    def __init__(
        self,
        path: Path,
        record: dict[str, Any],
        *,
        model: Model | None = None,
        device: str | None = None,
    ) -> None:
        self.path, self.record, self.device = path, record, device
        self._dictionaries: dict[str, Dictionary] = {}
        self._indexes: dict[str, FeatureIndex] = {}
        self._labels: dict[str, Labels | None] = {}
        if model is not None:
            self.__dict__["model"] = self._checked(model)

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: Model,
        source: str | Path,
        *,
        residual: str,
        settings: Mapping[str, Any] | None = None,
    ) -> Atlas:
        """A new, empty atlas of `model`, which was opened from `source`.

        Args:
            residual: the name of the dictionary on the residual stream, such as resid2.
            settings: how the atlas is going to be made.

        Raises:
            InputError: there is something else at `path`.
            StorageError: the disk is full or may not be written to.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or _visible(path)):
            raise InputError(
                f"{path} is there already and is no atlas",
                expected="an atlas, an empty folder or a free name",
                next_step="choose another --out",
            )
        place = Path(source)
        record = {
            "kind": KIND,
            "version": VERSION,
            "inscape": inscape.__version__,
            "model": {
                "source": str(place.resolve()) if place.is_dir() else str(source),
                "name": model.name,
                "hash": model.hash,
                "family": model.adapter.model_type,
                "num_layers": model.num_layers,
                "d_model": model.d_model,
            },
            "residual": residual,
            "settings": dict(settings or {}),
        }
        write_json(path / FILE, record)
        return cls(path, record, model=model)

    @classmethod
    def open(
        cls, path: str | Path, *, model: Model | None = None, device: str | None = None
    ) -> Atlas:
        """The atlas in a folder; its model is opened when it is first needed.

        Args:
            model: the atlas's model where it is open already, or has moved.
            device: where the model and the dictionaries go.

        Raises:
            StorageError: the folder is no atlas, or of a newer version.
            ModelError: `model` is another one than the atlas was made from.
        """
        path = Path(path)
        record = read_manifest(path, KIND, VERSION, name=FILE)
        if not isinstance(record.get("model"), dict) or "residual" not in record:
            raise StorageError(
                f"{path / FILE} does not describe an atlas", next_step="build the atlas again"
            )
        return cls(path, record, model=model, device=device)

    def __repr__(self) -> str:
        name = self.record["model"]["name"]
        return f"Atlas({str(self.path)!r}, model={name!r}, dictionaries={self.dictionary_names})"

    # What is in it

    @cached_property
    def model(self) -> Model:
        """The model that the atlas is about.

        Raises:
            ModelError: it is not where it was, or has changed.
        """
        source = self.record["model"]["source"]
        return self._checked(Model.open(source, device=self.device))

    def _checked(self, model: Model) -> Model:
        if model.hash != self.record["model"]["hash"]:
            raise ModelError(
                f"the model {model.name} is not the one that {self.path} was made from",
                expected=f"{self.record['model']['name']} with unchanged weights",
                next_step="open the atlas with that model, or build another one",
            )
        return model

    @property
    def residual(self) -> str:
        """The name of the dictionary on the residual stream."""
        return str(self.record["residual"])

    @property
    def dictionary_names(self) -> list[str]:
        """The dictionaries that are finished; the residual one first, then by layer."""
        folder = self.path / "dictionaries"
        found = [p.parent.name for p in folder.glob("*/dictionary.json") if p.parent.name[0] != "."]
        return sorted(found, key=lambda name: (name != self.residual, _natural(name)))

    def place(self, kind: str, name: str) -> Path:
        """Where an artefact lies: kind is dictionaries, features, labels or activations."""
        return self.path / kind / name

    def dictionary(self, name: str) -> Dictionary:
        """The dictionary called `name`, on the model's device.

        Raises:
            InputError: the atlas has none of that name.
        """
        if name not in self._dictionaries:
            if name not in self.dictionary_names:
                raise InputError(
                    f"{self.path} has no dictionary {name!r}",
                    expected=f"one of {', '.join(self.dictionary_names) or '(none yet)'}",
                    next_step="train it first" if not self.dictionary_names else None,
                )
            device = self.model.device if "model" in self.__dict__ else (self.device or "cpu")
            self._dictionaries[name] = Dictionary.open(
                self.place("dictionaries", name), device=device
            )
        return self._dictionaries[name]

    def transcoders(self) -> dict[int, Dictionary]:
        """Layer → transcoder of that layer's MLP."""
        found: dict[int, Dictionary] = {}
        for name in self.dictionary_names:
            dictionary = self.dictionary(name)
            site = dictionary.config.site_in
            if dictionary.config.transcoder and site.startswith("mlp_in."):
                found[int(site.rpartition(".")[2])] = dictionary
        return dict(sorted(found.items()))

    def index(self, name: str) -> FeatureIndex:
        """The feature index of a dictionary.

        Raises:
            StorageError: it is not there yet, or damaged.
        """
        if name not in self._indexes:
            self._indexes[name] = FeatureIndex.open(self.place("features", name))
        return self._indexes[name]

    def labels(self, name: str) -> Labels | None:
        """The labels of a dictionary's features; None where there are none yet."""
        if name not in self._labels:
            folder = self.place("labels", name)
            self._labels[name] = Labels.open(folder) if folder.is_dir() else None
        return self._labels[name]

    def store(self) -> ActivationStore:
        """The activations that the dictionaries were trained on."""
        from inscape.activations import ActivationStore

        return ActivationStore.open(self.place("activations", "corpus"), verify=True)

    def feature_label(self, dictionary: str, feature: int) -> str | None:
        """The label of a feature, where it has one."""
        labels = self.labels(dictionary)
        found = labels.get(feature) if labels is not None else None
        return found.text if found is not None else None

    def feature_labels(self, names: Iterable[str]) -> dict[tuple[str, int], str]:
        """(dictionary, feature) → label, of all labelled features of these dictionaries."""
        return {
            (name, feature): text
            for name in names
            if (labels := self.labels(name)) is not None
            for feature, text in labels.texts().items()
        }

    # What is put in

    def save_result(self, kind: str, title: str, content: Any, *, key: str = "") -> Path:
        """Writes one JSON result; the same `title` and `key` give the same file.

        Args:
            kind: traces or diagnoses.
            title: what the file is named after, such as the prompt.
            key: what else distinguishes it from other results of that title.
        """
        path = self.path / kind / f"{_slug(title, key)}.json"
        write_json(path, plain(content))
        return path


def _visible(folder: Path) -> bool:
    return any(not entry.name.startswith(".") for entry in folder.iterdir())


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or 0), "") if part.isdecimal() else (0, part) for part in _parts(name)]


def _parts(name: str) -> list[str]:
    return re.findall(r"\d+|\D+", name)


def _slug(title: str, key: str) -> str:
    words = "-".join(re.findall(r"[A-Za-z0-9]+", title))[:48].strip("-").lower() or "untitled"
    return f"{words}-{hashlib.blake2b(f'{title}{key}'.encode(), digest_size=4).hexdigest()}"
