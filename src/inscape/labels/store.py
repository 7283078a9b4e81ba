"""Labels on disk and in memory.

labels.parquet   one row a labelled feature
embeddings.npy   int8 [rows, d]: the texts as vectors, where an embedder was at hand
labels.json      the summary: counts, medians, the control
search.sqlite    what features are found by
manifest.json    version, what it was made from, checksums
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inscape.core import InputError, track
from inscape.features.search import FILE, match, write_text_table
from inscape.features.table import open_array
from inscape.labels.embedder import Embedder
from inscape.storage import (
    artefact,
    atomic_file,
    atomic_folder,
    cache_folder,
    read_json,
    read_manifest,
    reading,
    write_json,
    write_manifest,
)
from inscape.storage.atomic import nothing

KIND = "labels"
VERSION = 4
"""4: the score of the text alone. 3: scores against random and near windows, embeddings."""
EMBEDDINGS = "embeddings.npy"
UNIT = 127
_TEXTS = 1024  # labels that are embedded at once
KINDS = ("word", "concept", "prediction", "everywhere", "unclear")
OFFLINE = "offline"
_AGAIN = "remove the folder of the labels and run the command that makes them again"


@dataclass(frozen=True)
class Label:
    """What a feature stands for, and how well that was confirmed.

    Attributes:
        feature: its number.
        text: at most six words; empty where unclear.
        kind: what the label speaks of: the word that fires ("word"), a meaning ("concept"), what
            the model says next ("prediction"); "everywhere" where the feature fires on nearly
            every token, so that there is nothing to score it on; "unclear" where nothing that was
            tried told its tokens from others.
        auroc: how well the label tells windows of unseen documents in which the feature fires from
            random ones, NaN where it was not scored; low, high: its 95 % bootstrap interval over
            documents.
        auroc_near: the same against near windows: with the same token, or of neighbouring features.
        shuffled: the AUROC of another feature's label on the windows of `auroc`.
        auroc_text: what the text tells by itself, by the embedder, on the windows of `auroc`:
            without the words that fire and whatever else the rule holds; the same as `auroc` where
            the text is all there is.
        num_positive, num_negative: windows that it was scored on.
        source: who wrote it: "offline", "llm:MODEL", "published:NAME" or "person".
        words: the words that fire it, most frequent first.
        predicts: the tokens that it makes the model say, strongest first.
        rule: the label in executable form, as JSON; empty where the text is all there is.
    """

    feature: int
    text: str
    kind: str
    auroc: float = nan
    low: float = nan
    high: float = nan
    auroc_near: float = nan
    shuffled: float = nan
    auroc_text: float = nan
    num_positive: int = 0
    num_negative: int = 0
    source: str = OFFLINE
    words: tuple[str, ...] = ()
    predicts: tuple[str, ...] = ()
    rule: str = ""

    @property
    def name(self) -> str | None:
        """The text, where it names the feature: None where that is unclear."""
        return None if self.kind == "unclear" else self.text

    @property
    def num_scored(self) -> int:
        """Windows that the label was scored on."""
        return self.num_positive + self.num_negative


class Labels:
    """The labels of a dictionary's features. Made by `label`.

    `labels[feature]` is a Label, `feature in labels` says whether there is one; features with too
    few activations have none.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], labels: list[Label]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.num_features = int(manifest["num_features"])
        self._labels = {label.feature: label for label in labels}

    @classmethod
    def open(cls, path: str | Path) -> Labels:
        """The labels in a folder.

        Raises:
            StorageError: there are none, they are of a newer version, or damaged.
        """
        folder = Path(path)
        needed = {"num_features": int}
        manifest = read_manifest(
            folder, KIND, VERSION, verify=True, next_step=_AGAIN, fields=needed
        )
        with reading(folder / "labels.parquet", _AGAIN, OSError, TypeError, pa.ArrowException):
            labels = from_table(pq.read_table(folder / "labels.parquet"))
        return cls(folder, manifest, labels)

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, and medians over the features that have a name (labels.json)."""
        return {**read_json(self.folder / "labels.json"), **scores(self)}

    @cached_property
    def embeddings(self) -> NDArray[np.int8] | None:
        """The texts as vectors of length UNIT, [labels, d], in their order here, memory-mapped; a
        row of noughts where there is no text; None where no embedder was at hand. `embedder` in the
        manifest has the embedder's name and hash."""
        path = self.folder / EMBEDDINGS
        if "embedder" not in self.manifest:
            return None
        return open_array(path)

    @property
    def embedder(self) -> str | None:
        """The hash of the embedder that made them; None where none was at hand."""
        return str(self.manifest["embedder"]["hash"]) if "embedder" in self.manifest else None

    def vectors(self, embedder: Embedder) -> NDArray[np.int8]:
        """`embeddings` by this embedder: those that are here where it made them, else made at the
        first call and kept in the user's cache (a shared atlas comes without)."""
        if self.embedder == embedder.hash and self.embeddings is not None:
            return self.embeddings
        identity = self.manifest["files"]["labels.parquet"]["sha256"][:16]
        path = cache_folder() / "labels" / f"{identity}-{embedder.hash}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            found = _embedded(list(self), embedder)
            with atomic_file(path) as file:
                np.save(file, found)
        return open_array(path)

    @cached_property
    def features(self) -> NDArray[np.int64]:
        """The features that have a label, in order."""
        return np.fromiter(self._labels, np.int64, len(self._labels))

    def __repr__(self) -> str:
        named = sum(label.name is not None for label in self)
        return f"Labels({str(self.folder)!r}, {named} of {self.num_features} features labelled)"

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels.values())

    def __contains__(self, feature: object) -> bool:
        return feature in self._labels

    def __getitem__(self, feature: int) -> Label:
        if feature not in self._labels:
            raise InputError(
                f"feature {feature} has no label",
                expected=f"0 to {self.num_features - 1}, and one that does not fire too rarely",
            )
        return self._labels[feature]

    def get(self, feature: int) -> Label | None:
        """The label, or None where there is none."""
        return self._labels.get(feature)

    def search(self, text: str, limit: int = 20) -> list[tuple[int, float]]:
        """Features whose label matches `text`, with a score, best first (see features.search)."""
        return [hit[:2] for hit in match(self.folder / FILE, text, ["label"], [1.0], limit)]


def scores(labels: Iterable[Label]) -> dict[str, Any]:
    """Counts of kinds, how many names were scored, and their medians. A feature whose meaning is
    unclear has no name, and its chance result would only dilute them."""
    tried = list(labels)
    named = [label for label in tried if label.name is not None]
    found = [label for label in named if label.num_scored]

    def median(name: str) -> float | None:
        values = np.array([getattr(label, name) for label in found], np.float64)
        values = values[np.isfinite(values)]
        return round(float(np.median(values)), 4) if values.size else None

    above = float(np.mean([f.low > f.shuffled for f in found])) if found else None
    return {
        "num_labelled": len(named),
        "num_unclear": len(tried) - len(named),
        "num_scored": len(found),
        "kinds": dict(Counter(label.kind for label in tried).most_common()),
        "median_auroc": median("auroc"),
        "median_auroc_near": median("auroc_near"),
        "median_shuffled": median("shuffled"),
        "median_auroc_text": median("auroc_text"),
        "fraction_above_shuffled": None if above is None else round(above, 4),
    }


_TYPES = {
    "int": pa.int32(),
    "float": pa.float32(),
    "str": pa.string(),
    "tuple[str, ...]": pa.list_(pa.string()),
}


def as_table(labels: Iterable[Label]) -> pa.Table:
    """One row a label."""
    schema = pa.schema([(f.name, _TYPES[str(f.type)]) for f in fields(Label)])
    return pa.Table.from_pylist([asdict(label) for label in labels], schema)


def from_table(table: pa.Table) -> list[Label]:
    """The labels in a table."""

    def value(found: Any) -> Any:
        return tuple(found) if isinstance(found, list) else found

    return [Label(**{k: value(v) for k, v in row.items()}) for row in table.to_pylist()]


def _embedded(labels: Sequence[Label], embedder: Embedder) -> NDArray[np.int8]:
    texts = sorted({label.text for label in labels if label.text})
    parts = [texts[first : first + _TEXTS] for first in range(0, len(texts), _TEXTS)]
    found = [embedder.embed(part) for part in track(parts, "meanings of labels", unit="parts")]
    rows = np.concatenate([0 * embedder.embed([""]), *found])  # noughts where there is no text
    place = {text: number for number, text in enumerate(texts, 1)}
    vectors = rows[[place.get(label.text, 0) for label in labels]]
    return np.round(UNIT * vectors).astype(np.int8)


def write_labels(
    out: Path,
    labels: Sequence[Label],
    *,
    num_features: int,
    made_from: Mapping[str, Any],
    seeds: Mapping[str, int] | None = None,
    summary: Mapping[str, Any] | None = None,
    embedder: Embedder | None = None,
    replace: bool = False,
) -> Labels:
    """Write the folder, which is new or empty, and open it.

    Args:
        num_features: of the dictionary.
        made_from: what the labels rest on.
        summary: what labels.json says beside the scores.
        embedder: makes the vectors by which labels are found by meaning.
        replace: whether labels that are there already, as they were written, give way.
    """
    extra: dict[str, Any] = {"num_features": num_features}
    with atomic_folder(out, artefact(KIND) if replace else nothing) as folder:
        pq.write_table(as_table(labels), folder / "labels.parquet")
        write_text_table(folder / FILE, ["label"], ((f.feature, f.text) for f in labels if f.text))
        if embedder is not None:
            np.save(folder / EMBEDDINGS, _embedded(labels, embedder))
            extra["embedder"] = {"name": embedder.name, "hash": embedder.hash}
        write_json(folder / "labels.json", {**(summary or {}), **scores(labels)})
        write_manifest(folder, KIND, VERSION, made_from=made_from, seeds=seeds or {}, extra=extra)
    return Labels.open(out)
