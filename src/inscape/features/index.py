"""The feature index on disk, and reading it.

features.parquet    one row a feature: statistics, histogram, logit effects, neighbours
examples.parquet    one row an example: its window of tokens with the activation on each
indptr, positions, values (.npy)    feature-major sparse activations, memory-mapped
token_*.npy, vocabulary.parquet     the token table that row numbers refer to
search.sqlite       what features are found by

Opening reads the small columns only; activations and examples are read when they are asked for.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inscape.core import characters, whole
from inscape.features.examples import TOP, Example
from inscape.features.search import Hit, search_index
from inscape.features.table import AGAIN, TokenTable, open_array
from inscape.storage import read_manifest, reading

KIND = "feature-index"
VERSION = 2
FIELDS = {"num_tokens": int, "num_considered": int, "histogram_edges": list} | {
    f"made_from.{name}": str for name in ("dictionary", "inputs")
}
"""2: 64-bit offsets, a search file."""
EXAMPLES_PER_GROUP = 4096  # rows of examples.parquet that are read together
CACHED_GROUPS = 16


class FeatureIndex:
    """All that is known of a dictionary's features from a corpus. Made by `build_index`."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        with reading(folder / "features.parquet", AGAIN, OSError, pa.ArrowException):
            self.table = pq.read_table(folder / "features.parquet")
        with reading(folder / "examples.parquet", AGAIN, OSError, pa.ArrowException):
            self._examples = pq.ParquetFile(folder / "examples.parquet", memory_map=True)
        column = self.table.column
        self.num_active: NDArray[np.int64] = column("num_active").to_numpy()
        self.density: NDArray[np.float32] = column("density").to_numpy()
        self.max: NDArray[np.float32] = column("max").to_numpy()
        self._example_start = column("example_start").to_numpy()
        self._num_examples = column("num_examples").to_numpy()
        self.indptr: NDArray[np.int64] = np.asarray(open_array(folder / "indptr.npy"), np.int64)
        self.positions = open_array(folder / "positions.npy")
        self.values = open_array(folder / "values.npy")
        self._groups: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path) -> FeatureIndex:
        """The index in a folder.

        Raises:
            StorageError: there is none, it is of a newer version, or it is damaged.
        """
        folder = Path(path)
        return cls(
            folder,
            read_manifest(folder, KIND, VERSION, verify=True, next_step=AGAIN, fields=FIELDS),
        )

    def __repr__(self) -> str:
        return (
            f"FeatureIndex({self.dictionary!r}, num_features={self.num_features}, "
            f"num_tokens={self.num_considered}, alive={int((self.num_active > 0).sum())})"
        )

    @property
    def num_features(self) -> int:
        """d_dict of the dictionary."""
        return int(self.table.num_rows)

    @property
    def dictionary(self) -> str:
        """The dictionary's name."""
        return str(self.manifest["made_from"]["dictionary"])

    @property
    def hash(self) -> str:
        """A hash over everything that the index was made from."""
        return str(self.manifest["made_from"]["inputs"])

    @cached_property
    def tokens(self) -> TokenTable:
        """The token table that rows refer to."""
        return TokenTable.open(self.folder)

    @property
    def num_considered(self) -> int:
        """Tokens that the statistics rest on."""
        return int(self.manifest["num_considered"])

    @cached_property
    def histogram(self) -> NDArray[np.int64]:
        """Counts of activations per bin of strength, [m, 32]; the edges are shared."""
        flat = self.table.column("histogram").combine_chunks().flatten().to_numpy()
        counts: NDArray[np.int64] = flat.reshape(self.num_features, -1)
        return counts

    @property
    def histogram_edges(self) -> NDArray[np.float64]:
        """The 33 bin edges, half octaves up to the dictionary's largest activation."""
        return np.asarray(self.manifest["histogram_edges"], np.float64)

    def check(self, feature: int) -> int:
        """The feature's number, if there is such a feature.

        Raises:
            InputError: it lies outside the dictionary.
        """
        what = f"dictionary {self.dictionary!r} has no feature"
        return whole(feature, what, 0, self.num_features - 1)

    def rows_of(self, feature: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Where a feature fires: rows of the token table, ascending, and activations (> 0)."""
        start, end = self.indptr[self.check(feature) : feature + 2]
        rows = np.asarray(self.positions[start:end], np.int32)
        return rows, np.asarray(self.values[start:end], np.float32)

    def examples(self, feature: int, quantile: int | None = None) -> list[Example]:
        """A feature's examples: the top ones first, strongest first, then those from each
        interval of strength, weakest interval first; only one interval with `quantile`
        (-1 for the top)."""
        start = int(self._example_start[self.check(feature)])
        count = int(self._num_examples[feature])
        found: list[Example] = []
        for i in range(start, start + count):
            record = dict(self._group(i // EXAMPLES_PER_GROUP)[i % EXAMPLES_PER_GROUP])
            if quantile is None or record["quantile"] == quantile:
                del record["feature"]
                record["tokens"] = characters(record["tokens"])
                for name in ("tokens", "token_ids", "values"):
                    record[name] = tuple(record[name])
                record["quantile"] = None if record["quantile"] == TOP else record["quantile"]
                found.append(Example(**record))
        return found

    def top(self, feature: int) -> list[Example]:
        """The top examples alone, strongest first."""
        return self.examples(feature, TOP)

    def peak_tokens(self, feature: int, count: int = 4) -> list[str]:
        """The tokens at the peaks of its top examples, the most frequent first."""
        start = int(self._example_start[self.check(feature)])
        part = slice(start, start + int(self._num_examples[feature]))
        rows, quantiles = (column[part] for column in self._peaks)
        ids = self.tokens.ids[rows[quantiles == TOP]].tolist()
        return [self.tokens.text(token) for token, _ in Counter(ids).most_common(count)]

    @cached_property
    def _peaks(self) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """The row and the interval of every example."""
        path = self.folder / "examples.parquet"
        with reading(path, AGAIN, OSError, pa.ArrowException):
            table = pq.read_table(path, columns=["row", "quantile"])
        return table.column("row").to_numpy(), table.column("quantile").to_numpy()

    def _group(self, number: int) -> list[dict[str, Any]]:
        if number not in self._groups:
            with reading(self.folder / "examples.parquet", AGAIN, OSError, pa.ArrowException):
                self._groups[number] = self._examples.read_row_group(number).to_pylist()
            if len(self._groups) > CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(number)
        return self._groups[number]

    def _column(self, name: str, feature: int) -> list[Any]:
        values: list[Any] = self.table.column(name)[self.check(feature)].as_py()
        return values

    def promoted(self, feature: int) -> list[tuple[str, float]]:
        """Tokens that the feature's direction raises most, with the direct logit effect per unit
        of activation; empty where the site does not write into the residual stream."""
        return self._pairs("promoted_tokens", "promoted_logits", feature)

    def suppressed(self, feature: int) -> list[tuple[str, float]]:
        """Tokens that the feature's direction lowers most, most lowered first."""
        return self._pairs("suppressed_tokens", "suppressed_logits", feature)

    def _pairs(self, first: str, second: str, feature: int) -> list[tuple[Any, float]]:
        return list(zip(*(self._column(name, feature) for name in (first, second)), strict=True))

    def promoted_ids(self, feature: int) -> list[int]:
        """Token ids of `promoted`."""
        return self._column("promoted_ids", feature)

    def neighbours(self, feature: int) -> list[tuple[int, float]]:
        """Features with the most similar decoder direction, and the cosine."""
        return self._pairs("neighbours", "neighbour_cosines", feature)

    def search(self, text: str, *, limit: int = 20, token: bool = False) -> list[Hit]:
        """Features whose top examples or promoted tokens hold `text`, best first; of a token
        without letters and digits, those that peak on it or promote it. `token`: those alone that
        peak on it, as a token or else as a word.

        Raises:
            InputError: the text is blank.
        """
        return search_index(self.folder, self.dictionary, text, limit, token=token)
