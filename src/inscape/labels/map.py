"""The map of a dictionary: a place in the plane for every feature, groups, and how abstract it is.

1. Features that fire on at least LEAST tokens become vectors (taxonomy.py).
2. Their principal components are laid out in the plane by UMAP (McInnes et al. 2018), or, where
   umap-learn is not installed, by t-SNE (van der Maaten and Hinton 2008).
3. Groups are formed and named (taxonomy.py); each feature is placed between concrete and abstract
   (abstractness.py).

map.parquet     one row a feature: feature, x, y, group, cluster, density, max; abstract, and what
                that rests on (see Abstractness): by_token, words, scripts
groups.parquet  one row a group or cluster: level, number, parent, name, size, auroc
manifest.json   made from what, which layout
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from inscape.core import InputError, progress, seeded
from inscape.dictionary import Dictionary
from inscape.features import FeatureIndex
from inscape.features.writer import as_numpy
from inscape.labels.abstractness import abstractness
from inscape.labels.embedder import Embedder
from inscape.labels.meaning import Meaning
from inscape.labels.store import Labels
from inscape.labels.taxonomy import Group, Vectors, clusters, named, unit
from inscape.storage import (
    MANIFEST,
    artefact,
    atomic_folder,
    read_manifest,
    reading,
    refuse_filled,
    write_manifest,
)

KIND = "map"
VERSION = 1
LEAST = 8  # tokens on which a feature fires
FEWEST = 16  # such features
ABOUT = 1.0  # weight of what a feature is about, beside its decoder's direction
COMPONENTS, NEIGHBOURS = 100, 15
MOST = 0.95
_AGAIN = "remove that folder and run inscape map again"


class FeatureMap:
    """The map of a dictionary. Made by `write_map`.

    table: one row a feature. groups: of both levels.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, path: str | Path) -> FeatureMap:
        """The map in a folder.

        Raises:
            StorageError: there is none, it is of a newer version, or damaged.
        """
        folder = Path(path)
        fields = {"layout": str, "made_from.dictionary": str}
        return cls(
            folder,
            read_manifest(folder, KIND, VERSION, verify=True, next_step=_AGAIN, fields=fields),
        )

    @property
    def dictionary(self) -> str:
        """The dictionary's name."""
        return str(self.manifest["made_from"]["dictionary"])

    @cached_property
    def table(self) -> pa.Table:
        """One row a feature."""
        with reading(self.folder / "map.parquet", _AGAIN, OSError, pa.ArrowException):
            return pq.read_table(self.folder / "map.parquet")

    @cached_property
    def groups(self) -> list[Group]:
        """The groups, then the clusters, by number."""
        with reading(self.folder / "groups.parquet", _AGAIN, OSError, TypeError, pa.ArrowException):
            return [
                Group(**one) for one in pq.read_table(self.folder / "groups.parquet").to_pylist()
            ]

    def __repr__(self) -> str:
        return (
            f"FeatureMap({self.dictionary!r}, {self.table.num_rows} features in "
            f"{sum(group.level == 1 for group in self.groups)} groups)"
        )


def write_map(
    out: str | Path,
    dictionary: Dictionary,
    index: FeatureIndex,
    labels: Labels | None = None,
    meaning: Meaning | None = None,
    embedder: Embedder | None = None,
    *,
    seed: int = 0,
) -> FeatureMap:
    """The map of a dictionary in the folder `out`; one that was made from the same is opened, and
    one that came with an index of examples only, from which none can be made.

    Raises:
        InputError: too few features fire, or the index holds examples only and came without a map.
        StorageError: `out` holds something else.
    """
    out = Path(out)
    made_from = {
        "dictionary": index.dictionary,
        "index": index.hash,
        "labels": None if labels is None else labels.manifest["made_from"],
        "meaning": None if meaning is None else meaning.embedder,
    }
    if (out / MANIFEST).is_file():
        found = read_manifest(out, KIND, VERSION)
        same = found["made_from"] == made_from and found["seeds"] == {"map": seed}
        if same or not index.has_activations:
            return FeatureMap.open(out)
    refuse_filled(out, artefact(KIND))
    features = mappable(index)
    if features.size < FEWEST:
        raise InputError(
            f"{features.size} features of {index.dictionary} fire on {LEAST} tokens or more",
            expected=f"at least {FEWEST}",
            next_step="index a longer text",
        )
    index.rows_of(int(features[0]))  # an index of examples only says so before all the work
    about = _about(features, labels, meaning)
    rows = unit(as_numpy(dictionary.W_dec)[features].reshape(features.size, -1))
    vectors = rows if about is None else np.concatenate([rows, ABOUT * about], axis=1)
    with progress("map", 3, "steps") as bar:
        places, layout = laid_out(vectors, seed)
        bar.advance(1)
        cluster, group = clusters(vectors, seed)
        bar.advance(1)
        texts = [_called(index, labels, int(f)) for f in features]
        groups = _groups(cluster, group, about, texts, embedder, seed)
        bar.advance(1)
    columns = {
        "feature": features.astype(np.int32),
        "x": places[:, 0],
        "y": places[:, 1],
        "group": group[cluster],
        "cluster": cluster,
        "density": index.density[features],
        "max": index.max[features],
    }
    how = abstractness(index, seed=seed)
    columns |= {
        "abstract": how.estimate[features],
        "by_token": how.by_token[features],
        "words": how.words[features],
        "scripts": (how.scripts if how.scripts is not None else how.words * np.nan)[features],
    }
    with atomic_folder(out, artefact(KIND)) as folder:
        pq.write_table(pa.table(columns), folder / "map.parquet")
        listed = pa.Table.from_pylist([asdict(one) for one in groups])
        pq.write_table(listed, folder / "groups.parquet")
        extra = {"layout": layout}
        write_manifest(folder, KIND, VERSION, made_from=made_from, seeds={"map": seed}, extra=extra)
    return FeatureMap.open(out)


def mappable(index: FeatureIndex) -> NDArray[np.int64]:
    """The features that fire often enough for a map."""
    return np.flatnonzero(index.num_active >= LEAST)


def laid_out(vectors: Vectors, seed: int) -> tuple[NDArray[np.float32], str]:
    """Places [n, 2], the longer side of the map from 0 to 1; and how they were found."""
    state = seeded(seed, "layout") % 2**32
    few = PCA(min(COMPONENTS, *vectors.shape), random_state=state).fit_transform(vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn tells of its threads and of TensorFlow
        if find_spec("umap") is not None:
            from umap import UMAP

            layout = "UMAP"
            near = min(NEIGHBOURS, len(few) - 1)
            places = UMAP(near, metric="cosine", random_state=state).fit_transform(few)
        else:
            layout = "t-SNE"
            places = TSNE(
                perplexity=min(30.0, (len(few) - 1) / 3), random_state=state, init="pca"
            ).fit_transform(few)
    places = drawn_in(places)
    places = places - places.min(axis=0)
    return (places / max(float(places.max()), 1e-12)).astype(np.float32), layout


def drawn_in(places: NDArray[np.floating]) -> NDArray[np.floating]:
    """Places whose few far islands lie nearer, in the same direction: beyond the distance within
    which MOST of them lie, distance grows by its logarithm."""
    places = places - np.median(places, axis=0)
    far = np.linalg.norm(places, axis=1, keepdims=True)
    far = np.maximum(far / max(float(np.quantile(far, MOST)), 1e-12), 1e-12)
    return places * np.where(far > 1, (1 + np.log(np.maximum(far, 1)) / 4) / far, 1)


def _about(
    features: NDArray[np.int64], labels: Labels | None, meaning: Meaning | None
) -> Vectors | None:
    """What each feature is about, by examples and label; None where neither was embedded."""
    parts = []
    if meaning is not None:
        parts.append(meaning.vectors()[features])
    if labels is not None and labels.embeddings is not None:
        vectors = labels.embeddings.astype(np.float32)
        written = np.flatnonzero(np.abs(vectors).max(axis=1) > 0)
        if len(written):
            vectors[written] = unit(vectors[written] - vectors[written].mean(axis=0))
        table = np.zeros((labels.num_features, vectors.shape[1]), np.float32)
        table[labels.features] = vectors
        parts.append(table[features])
    return unit(np.sum(parts, axis=0)) if parts else None


def _called(index: FeatureIndex, labels: Labels | None, feature: int) -> str:
    """What may name a group that a feature is in: its label, else the word that fires it most; ""
    where that is no word."""
    label = None if labels is None else labels.get(feature)
    if label is not None:
        return label.text if label.kind in ("word", "concept") else ""
    words = [token.strip() for token in index.peak_tokens(feature, 1)]
    return next((word.lower() for word in words if word.isalpha() and len(word) > 2), "")


def _groups(
    cluster: NDArray[np.int32],
    group: NDArray[np.int32],
    about: Vectors | None,
    texts: list[str],
    embedder: Embedder | None,
    seed: int,
) -> list[Group]:
    """Groups and clusters with their names."""
    distinct = sorted(set(texts) - {""})
    embedded = {}
    if about is not None and embedder is not None and distinct:
        embedded = dict(zip(distinct, embedder.embed(distinct), strict=True))
    found = []
    for level, numbers in ((1, group[cluster]), (2, cluster)):
        sizes = np.bincount(numbers)
        for number, (name, auroc) in enumerate(named(numbers, about, texts, embedded, seed)):
            parent = -1 if level == 1 else int(group[number])
            found.append(Group(level, number, parent, name, int(sizes[number]), auroc))
    return found
