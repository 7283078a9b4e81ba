"""The folder of an atlas: what lies where, and reading it.

atlas.json                  schema version, model, text rule, settings of the build
dictionaries/<name>/        named by site: resid_post.14, mlp.5 (transcoder), mlp_act.5 (neurons)
features/<name>/            the feature index of a dictionary
features/tokens-<hash>/     the tokens of a text, shared by the indexes that rest on it
labels/<name>/              its labels; labels/<name>@<writer>/ those by somebody else
answers/<name>@<writer>/    what a language model has answered
meaning/<name>/             what its features are about, as vectors
activations/corpus/         stored activations, where they were asked for
prompts/  traces/  trajectories/  attention/  exchanges/  circuits/
diagnoses/  steering/  repairs/    versioned JSON, one file a result

Readers need no lock; whatever writes holds the atlas's lock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import inscape
from inscape.activations import ActivationStore
from inscape.core import InputError, InscapeError, ModelError, StorageError, all_of, tokens_as_label
from inscape.dictionary import Dictionary
from inscape.dictionary.neurons import neurons
from inscape.features import FeatureIndex
from inscape.labels import Labels, Meaning
from inscape.model import Model
from inscape.storage import lock, read_json, read_manifest, write_json
from inscape.storage.lock import LOCK

KIND = "atlas"
VERSION = 2
FILE, _AGAIN = "atlas.json", "build the atlas again"
_MODEL = {"source": str, "name": str, "hash": str, "num_layers": int, "d_model": int}
_FIELDS = {"settings": dict} | {f"model.{name}": kind for name, kind in _MODEL.items()}


class Container:
    """What an atlas holds on disk; `Atlas` adds what can be done with it.

    Attributes:
        path: its folder.
        record: the content of atlas.json.
        device: where the model and the dictionaries go; None takes a GPU if there is one.
    """

    def __init__(
        self,
        path: Path,
        record: dict[str, Any],
        *,
        model: Model | str | Path | None = None,
        device: str | None = None,
        bos: str | None = None,
    ) -> None:
        self.path, self.record, self.device, self._bos = path, record, device, bos
        self._source = None if isinstance(model, Model) else model
        self._dictionaries: dict[str, Dictionary] = {}
        self._features: dict[str, FeatureIndex] = {}
        self._labels: dict[Path, Labels] = {}
        self._meaning: dict[str, Meaning] = {}
        self._depth = 0
        if isinstance(model, Model):
            self.__dict__["model"] = self._checked(model)

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: Model | str | Path,
        *,
        source: str | Path | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str | None = None,
        bos: str | None = None,
    ) -> Self:
        """A new, empty atlas of `model`.

        Args:
            model: a model, or where it is opened from.
            source: where a wrapped model can be opened again; its name if None.
            settings: how its dictionaries are going to be trained (see `BuildConfig`).

        Raises:
            InputError: there is something else at `path`, or it is no path.
            StorageError: the disk is full or may not be written to.
        """
        path = _folder(path)
        if path.exists() and (not path.is_dir() or any(path.glob("[!.]*"))):
            raise InputError(
                f"{path} is there already and is not empty",
                expected="an empty folder or a free name",
                next_step="choose another one",
            )
        opened = model
        if not isinstance(opened, Model):
            opened = Model.open(opened, device=device, bos=bos or "auto")
        record = {
            "kind": KIND,
            "version": VERSION,
            "inscape": inscape.__version__,
            "model": {
                "source": opened.source or (str(source) if source else opened.name),
                "revision": opened.revision,
                "name": opened.name,
                "hash": opened.hash,
                "bos": opened.bos,
                "family": opened.adapter.model_type,
                "num_layers": opened.num_layers,
                "d_model": opened.d_model,
            },
            "settings": dict(settings or {}),
        }
        write_json(path / FILE, record)
        return cls(path, record, model=opened, device=device)

    @classmethod
    @contextmanager
    def creating(
        cls, path: str | Path, model: Model | str | Path, **options: Any
    ) -> Iterator[Self]:
        """`create`, and on an error within the context the atlas is removed again while it holds
        nothing, so that it does not block its name."""
        path = _folder(path)
        before = set(path.iterdir()) | {path} if path.is_dir() else set()
        made = cls.create(path, model, **options)
        try:
            yield made
        except BaseException:
            with suppress(OSError, InscapeError):
                made._remove_empty(before)
            raise

    def _remove_empty(self, before: set[Path]) -> None:
        """Removes the folder, less what was there before, if it holds no file but its own two."""
        own = {self.path / FILE, self.path / LOCK} - before
        new = set(self.path.iterdir()) - before - own
        new |= {path for folder in new for path in folder.rglob("*")}
        if not all(path.is_dir() for path in new):
            return
        with self.writing():
            for path in sorted(new, reverse=True):  # what is in a folder first
                path.rmdir()
            for path in own:
                path.unlink(missing_ok=True)
            if self.path not in before:
                self.path.rmdir()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: Model | str | Path | None = None,
        device: str | None = None,
        bos: str | None = None,
    ) -> Self:
        """The atlas in a folder; its model is opened when it is first needed.

        Args:
            model: the atlas's model where it is open already, or where it has moved to.
            device: where the model and the dictionaries go.
            bos: another rule for beginning-of-text than the recorded one (see `Model.open`).

        Raises:
            InputError: `path` is no path.
            StorageError: the folder is no atlas, or one of another version.
            ModelError: `model` is another one than the atlas was made from.
        """
        path = _folder(path)
        record = read_manifest(path, KIND, VERSION, name=FILE)
        if record["version"] < VERSION:
            raise StorageError(
                f"{path} has the layout of an earlier inscape (version {record['version']})",
                expected=f"version {VERSION}",
                next_step="make it again with inscape build, or import its dictionaries "
                "(dictionaries/NAME) into a new atlas with inscape import",
            )
        read_manifest(path, KIND, VERSION, name=FILE, fields=_FIELDS, next_step=_AGAIN)
        medians = record["model"].get("median_norms") or {}
        if not isinstance(medians, dict) or not all(
            isinstance(norm, int | float) for norm in medians.values()
        ):
            raise StorageError(
                f"{path / FILE} does not describe an atlas: model.median_norms is {medians!r}",
                expected="a norm by site",
                next_step=_AGAIN,
            )
        return cls(path, record, model=model, device=device, bos=bos)

    def __repr__(self) -> str:
        name = self.record["model"]["name"]
        kind = type(self).__name__
        return f"{kind}({str(self.path)!r}, model={name!r}, dictionaries={self.dictionary_names})"

    # The model

    @cached_property
    def model(self) -> Model:
        """The model that the atlas is about.

        Raises:
            ModelError: it is not where it was, or has changed.
        """
        source, revision = self._source, None
        if source is None:
            source, revision = self.record["model"]["source"], self.record["model"].get("revision")
        try:
            rule = self._bos or self.record["model"].get("bos", "auto")
            opened = Model.open(source, revision=revision, device=self.device, bos=rule)
        except ModelError as error:
            if self._source is not None:
                raise
            raise ModelError(
                f"the model of {self.path} cannot be opened from {source}: {error}",
                next_step="if it has moved, say where it is now with --model",
            ) from error
        return self._checked(opened)

    def _checked(self, model: Model) -> Model:
        if model.hash != self.record["model"]["hash"]:
            raise ModelError(
                f"the model {model.name} is not the one that {self.path} was made from",
                expected=f"{self.record['model']['name']} with unchanged weights",
                next_step="open the atlas with that model, or build another one",
            )
        medians = self.record["model"].get("median_norms")
        if medians is None and self.has_store:
            medians = self.store(verify=False).median_norms
        model.sink_medians = medians or {}  # the sinks that its dictionaries were trained without
        return model

    # What is in it

    @property
    def dictionary_names(self) -> list[str]:
        """The dictionaries that are finished: of the residual stream first, then by layer."""
        folder = self.path / "dictionaries"
        # (glob would pass over a folder that may not be read)
        entries = folder.iterdir() if folder.exists() else ()
        found = [p.name for p in entries if p.name[0] != "." and (p / "dictionary.json").is_file()]
        return sorted(found, key=lambda name: (not name.startswith("resid"), _natural(name)))

    @property
    def residual(self) -> str:
        """The name of the first dictionary of the residual stream.

        Raises:
            InputError: the atlas has none.
        """
        for name in self.dictionary_names:
            if name.startswith("resid"):
                return name
        raise InputError(
            f"{self.path} has no dictionary of the residual stream", next_step="train or import one"
        )

    def place(self, kind: str, name: str) -> Path:
        """Where an artefact lies: kind is dictionaries, features, labels, meaning or
        activations."""
        return self.path / kind / name

    def dictionary(self, name: str) -> Dictionary:
        """The dictionary called `name`, on the device of the model.

        Raises:
            InputError: the atlas has none of that name.
        """
        if name not in self._dictionaries:
            layer = self._neuron_layer(self._known(name))
            self._dictionaries[name] = (
                Dictionary.open(self.place("dictionaries", name))
                if layer is None
                else neurons(self.model, layer)
            )
        found = self._dictionaries[name]
        if "model" in self.__dict__ and found.W_dec.device != self.model.device:
            found = self._dictionaries[name] = found.to(self.model.device)
        return found

    def _neuron_layer(self, name: str) -> int | None:
        """The layer of a name such as mlp_act.5: its neurons, which need no training."""
        layer = name.removeprefix("mlp_act.")
        is_one = layer != name and layer.isascii() and layer.isdecimal() and len(layer) < 6
        return int(layer) if is_one and name not in self.dictionary_names else None

    def _known(self, name: str) -> str:
        layer, last = self._neuron_layer(name), self.record["model"]["num_layers"] - 1
        if name in self.dictionary_names or (layer is not None and layer <= last):
            return name
        neurons = f"mlp_act.0 to mlp_act.{last}" if last else "mlp_act.0"
        num_layers = f": {self.record['model']['name']} has {last + 1} layer{'s' * (last > 0)}"
        needed = layer is None and not self.dictionary_names
        raise InputError(
            f"{self.path} has no dictionary {name!r}{'' if layer is None else num_layers}",
            expected=f"one of {', '.join([*self.dictionary_names, neurons])} (neurons)",
            next_step="train or import one first" if needed else None,
        )

    @property
    def indexed_names(self) -> list[str]:
        """The dictionaries, neurons included, that have a feature index."""
        there = {path.name for path in (self.path / "features").glob("[!.]*")}
        named = [name for name in self.dictionary_names if name in there]
        neurons = {name for name in there if self._neuron_layer(name) is not None}
        return named + sorted(neurons, key=_natural)

    @property
    def shown_names(self) -> list[str]:
        """What is looked at where nothing is named: of these no neurons, unless they are all."""
        indexed = self.indexed_names
        return [name for name in indexed if name in self.dictionary_names] or indexed

    def chosen(self, names: Iterable[str] | None) -> list[str]:
        """The dictionaries named (one or several), or all that are stored.

        Args:
            names: names, or patterns of them as a shell knows them (`mlp.*`, `resid_post.1[45]`);
                those that begin with mlp_act stand for neurons too.

        Raises:
            InputError: one is not known, or a pattern fits none.
        """
        if names is None:
            return self.dictionary_names
        found: dict[str, None] = {}
        for name in all_of(str, names, "the name of a dictionary"):
            found |= dict.fromkeys(self._fitting(name) or [self._known(name)])
        return list(found)

    def _fitting(self, pattern: str) -> list[str]:
        """The names that a pattern with *, ? or [ fits; none for a plain name."""
        if not set(pattern) & set("*?["):
            return []
        known = self.dictionary_names
        if pattern.startswith("mlp_act"):
            layers = range(self.record["model"]["num_layers"])
            known = sorted({*known, *(f"mlp_act.{layer}" for layer in layers)}, key=_natural)
        return [name for name in known if fnmatchcase(name, pattern)]

    def some(self, names: Iterable[str] | None) -> list[str]:
        """The same, but InputError where nothing is named and nothing stored."""
        found = self.chosen(names)
        if not found:
            raise InputError(
                f"{self.path} has no dictionary yet",
                expected="one that is trained or imported, or neurons by name",
                next_step="name neurons with --dictionary mlp_act.L",
            )
        return found

    def indexed(self, names: Iterable[str] | None = None) -> list[str]:
        """Of those named, or of those shown, the indexed ones; InputError for none."""
        known = self.shown_names if names is None else self.chosen(names)
        found = [name for name in known if self.is_indexed(name)]
        if not found:
            raise InputError(
                f"{self.path} has no indexed dictionary"
                + (f" among {', '.join(known)}" if known else ""),
                next_step=f"run: inscape index {self.path} --text TEXT",
            )
        return found

    def is_indexed(self, name: str) -> bool:
        """Whether a dictionary has a feature index."""
        return self.place("features", name).is_dir()

    def features(self, name: str) -> FeatureIndex:
        """The feature index of a dictionary.

        Raises:
            InputError: the atlas has no such dictionary, or it is not indexed yet.
            StorageError: the index is damaged.
        """
        if name not in self._features:
            folder = self.place("features", self._known(name))
            if not self.is_indexed(name):
                raise InputError(
                    f"dictionary {name} of {self.path} is not indexed",
                    next_step=f"run: inscape index {self.path} --dictionary {name} --text TEXT",
                )
            self._features[name] = FeatureIndex.open(folder)
        return self._features[name]

    def labels(self, name: str, writer: str | None = None) -> Labels | None:
        """The labels of a dictionary's features; None where there are none yet.

        Args:
            writer: one of `writers`; None takes those that were made last, which are shown.
        """
        there = self.writers(name)
        if writer is None:
            shown = self.record.get("labels", {})
            writer = shown.get(name, "") if isinstance(shown, dict) else ""
            writer = writer if writer in there else next(iter(there), "")
        if writer not in there:
            return None
        place = self.place("labels", f"{name}@{writer}" if writer else name)
        if place not in self._labels:
            self._labels[place] = Labels.open(place)
        return self._labels[place]

    def forget_labels(self, name: str) -> None:
        """Labels of a dictionary are read anew when they are next asked for."""
        self._labels = {
            place: one
            for place, one in self._labels.items()
            if place.name.partition("@")[0] != name
        }

    def writers(self, name: str) -> list[str]:
        """Whose labels of a dictionary there are: "" for the offline ones, which come first, else
        as in labels/NAME@WRITER."""
        there = [path.name.partition("@") for path in (self.path / "labels").glob("[!.]*")]
        return sorted(writer for called, _, writer in there if called == name)

    def meaning(self, name: str) -> Meaning | None:
        """The vectors of a dictionary's features; None where there are none yet."""
        if name not in self._meaning and (place := self.place("meaning", name)).is_dir():
            self._meaning[name] = Meaning.open(place)
        return self._meaning.get(name)

    @property
    def has_store(self) -> bool:
        """Whether the activations that its dictionaries were trained on are stored."""
        return (self.place("activations", "corpus") / "manifest.json").is_file()

    def store(self, *, verify: bool = True) -> ActivationStore:
        """The stored activations, where they were asked for."""
        return ActivationStore.open(self.place("activations", "corpus"), verify=verify)

    def feature_name(self, dictionary: str, feature: int) -> str | None:
        """The label of a feature, where it has one."""
        found = None if (labels := self.labels(dictionary)) is None else labels.get(feature)
        return None if found is None else found.name

    def feature_label(self, dictionary: str, feature: int) -> str | None:
        """What names a feature where it is shown: its label, else the tokens that it is most
        active on, said to be tokens; None where it is not indexed."""
        if name := self.feature_name(dictionary, feature):
            return name
        index = self.features(dictionary) if dictionary in self.indexed_names else None
        if index is None or not 0 <= feature < index.num_features:
            return None
        return tokens_as_label(index.peak_tokens(feature))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the atlas's lock; a method that writes may call another that does."""
        if self._depth:
            yield
            return
        with lock(self.path):
            self.record = read_json(self.path / FILE)  # others may have written since it was read
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1


def _folder(path: Any) -> Path:
    if isinstance(path, str | Path) and str(path):
        return Path(path)
    raise InputError(f"{path!r} names no atlas", expected="the path of a folder, as in atlas/")


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
