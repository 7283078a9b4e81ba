"""The feature index on disk, and reading it.

features.parquet    one row a feature: statistics, histogram, logit effects, neighbours
examples.parquet    one row an example: its place in the text, and the activations around it
indptr, positions, values (.npy)    feature-major sparse activations, memory-mapped; may be left out
search.sqlite       what features are found by
../tokens-<hash>/   the tokens that row numbers refer to, shared by the indexes of one text

Opening reads the footers of the tables; what is asked for is read then, and compared with its
checksums. Of the large arrays only the sizes are compared, by default.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from inscape.core import InputError, StorageError, characters, first_shown, track, whole
from inscape.features.examples import PEAKS, TOP, Example
from inscape.features.parquet import first_group, opened_table
from inscape.features.search import FILE, Hit, Texts, search_index, write_search
from inscape.features.table import AGAIN, TokenFile, TokenTable, open_array
from inscape.features.tables import EXAMPLES, FEATURES
from inscape.storage import atomic_folder, cache_folder, file_hash, read_manifest, reading

KIND = "feature-index"
VERSION = 3
"""3: compact tables, tokens in a folder of their own, activations that may be left out."""
FIELDS = {"num_tokens": int, "num_considered": int, "histogram_edges": list, "tokens": str} | {
    f"made_from.{name}": str for name in ("dictionary", "inputs")
}
ARRAYS = ("indptr.npy", "positions.npy", "values.npy")
CHECKED = 1 << 28  # bytes of an array up to which its checksum is compared when it is first used
_CACHED_GROUPS = 64


class FeatureIndex:
    """All that is known of a dictionary's features from a corpus. Made by `build_index`."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self._tables = {name: opened_table(folder / name) for name in (FEATURES, EXAMPLES)}
        self._sizes = {name: max(1, first_group(file)) for name, file in self._tables.items()}
        self._groups: OrderedDict[tuple[str, int, str | None], pa.Table] = OrderedDict()
        with reading(folder / FEATURES, AGAIN, OSError, pa.ArrowException):
            figures = self._tables[FEATURES].read(["num_active", "max"])
        self.num_active: NDArray[np.int64] = figures.column(0).to_numpy()
        self.max: NDArray[np.float32] = figures.column(1).to_numpy()

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> FeatureIndex:
        """The index in a folder.

        Args:
            verify: compare the checksum of every file now.

        Raises:
            StorageError: there is none, it is of another version, or it is damaged.
        """
        folder = Path(path)
        manifest = read_manifest(folder, KIND, VERSION, verify=verify, next_step=AGAIN)
        if manifest["version"] < VERSION:
            raise StorageError(
                f"{folder} is a feature index of version {manifest['version']}",
                expected=f"version {VERSION}",
                next_step=AGAIN,
            )
        read_manifest(folder, KIND, VERSION, next_step=AGAIN, fields=FIELDS)
        return cls(folder, manifest)

    def __repr__(self) -> str:
        return (
            f"FeatureIndex({self.dictionary!r}, num_features={self.num_features}, "
            f"num_tokens={self.num_considered}, alive={int((self.num_active > 0).sum())})"
        )

    @property
    def num_features(self) -> int:
        """d_dict of the dictionary."""
        return int(self._tables[FEATURES].metadata.num_rows)

    @property
    def dictionary(self) -> str:
        """The dictionary's name."""
        return str(self.manifest["made_from"]["dictionary"])

    @property
    def hash(self) -> str:
        """A hash over everything that the index was made from."""
        return str(self.manifest["made_from"]["inputs"])

    @property
    def num_considered(self) -> int:
        """Tokens that the statistics rest on."""
        return int(self.manifest["num_considered"])

    # The text

    @cached_property
    def _token_file(self) -> TokenFile:
        return TokenFile(self.folder.parent / self.manifest["tokens"])

    @cached_property
    def tokens(self) -> TokenTable:
        """The token table that rows refer to."""
        return TokenTable.open(self._token_file.folder)

    def _text(self, token: int) -> str:
        texts: dict[int, str] = self._token_file.texts
        return texts.get(token, "?")

    def _window(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Columns of the token table at some rows; unless it is read already, only these are."""
        if "tokens" not in self.__dict__:
            return self._token_file.part(start, stop)
        names = ("ids", "documents", "positions")
        return {name: getattr(self.tokens, name)[start:stop] for name in names}

    # Statistics, a number a feature

    @cached_property
    def table(self) -> pa.Table:
        """features.parquet, whole."""
        with reading(self.folder / FEATURES, AGAIN, OSError, pa.ArrowException):
            return self._tables[FEATURES].read()

    def example_table(self) -> pa.Table:
        """examples.parquet, whole."""
        with reading(self.folder / EXAMPLES, AGAIN, OSError, pa.ArrowException):
            return self._tables[EXAMPLES].read()

    @cached_property
    def density(self) -> NDArray[np.float32]:
        """On which share of the tokens that count each feature fires, [m]."""
        return np.divide(self.num_active, max(self.num_considered, 1), dtype=np.float32)

    @cached_property
    def histogram(self) -> NDArray[np.int64]:
        """Counts of activations per bin of strength, [m, 32]; the edges are shared.

        Raises:
            InputError: the index is a small copy without it.
        """
        if "histogram" not in self._tables[FEATURES].schema_arrow.names:
            raise InputError(f"the index of {self.dictionary} was shared without its histogram")
        flat = self.table.column("histogram").combine_chunks().flatten().to_numpy()
        counts: NDArray[np.int64] = flat.reshape(self.num_features, -1).astype(np.int64)
        return counts

    @property
    def histogram_edges(self) -> NDArray[np.float64]:
        """The 33 bin edges, half octaves up to the dictionary's largest activation."""
        return np.asarray(self.manifest["histogram_edges"], np.float64)

    # Activations

    @property
    def has_activations(self) -> bool:
        """Whether it holds where every feature fires, beyond its examples."""
        return ARRAYS[0] in self.manifest["files"] if "files" in self.manifest else True

    def _array(self, name: str) -> NDArray[Any]:
        if not self.has_activations:
            atlas, name = self.folder.parent.parent, self.dictionary
            again = f"inscape index {atlas} --dictionary {name} --text TEXT"
            if "kept" in self.manifest:  # a small copy, which is not indexed again in its place
                again = f"inscape import {atlas / 'dictionaries' / name} --into NEW --text TEXT"
            raise InputError(
                f"the index of {name} holds examples only, not where features fire",
                next_step=f"run: {again}",
            )
        path, files = self.folder / name, self.manifest.get("files", {})
        if name in files and files[name]["size"] <= CHECKED:
            with reading(path, AGAIN):
                same = file_hash(path) == files[name]["sha256"]
            if not same:
                raise StorageError(f"{path} differs from its checksum", next_step=AGAIN)
        return open_array(path)

    @cached_property
    def indptr(self) -> NDArray[np.int64]:
        """Feature f has the entries indptr[f] : indptr[f + 1] of positions and values, [m + 1]."""
        return self._array("indptr.npy")

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """The rows of all entries, memory-mapped."""
        return self._array("positions.npy")

    @cached_property
    def values(self) -> NDArray[np.floating]:
        """The activations of all entries, memory-mapped."""
        return self._array("values.npy")

    def rows_of(self, feature: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Where a feature fires: rows of the token table, ascending, and activations (> 0).

        Raises:
            InputError: there is no such feature, or the index holds examples only.
        """
        start, end = self.indptr[self.check(feature) : feature + 2]
        rows = np.asarray(self.positions[start:end], np.int32)
        return rows, np.asarray(self.values[start:end], np.float32)

    def check(self, feature: int) -> int:
        """The feature's number, if there is such a feature.

        Raises:
            InputError: it lies outside the dictionary.
        """
        what = f"dictionary {self.dictionary!r} has no feature"
        return whole(feature, what, 0, self.num_features - 1)

    # One feature

    def _group(self, name: str, number: int, column: str | None = None) -> pa.Table:
        """A group of rows of a table, with one column or with all."""
        key = name, number, column
        if key not in self._groups:
            columns = None if column is None else [column]
            with reading(self.folder / name, AGAIN, OSError, pa.ArrowException):
                self._groups[key] = self._tables[name].read_row_group(number, columns=columns)
            if len(self._groups) > _CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _entry(self, name: str, feature: int) -> Any:
        number, row = divmod(self.check(feature), self._sizes[FEATURES])
        return self._group(FEATURES, number, name).column(0)[row].as_py()

    def examples(self, feature: int, quantile: int | None = None) -> list[Example]:
        """A feature's examples: the top ones first, strongest first, then those from each
        interval of strength, weakest interval first; only one interval with `quantile`
        (-1 for the top)."""
        start = self._entry("example_start", feature)
        stop, found = start + self._entry("num_examples", feature), []
        while start < stop:
            number, first = divmod(start, self._sizes[EXAMPLES])
            part = self._group(EXAMPLES, number).slice(first, stop - start)
            found += [
                self._example(record)
                for record in part.to_pylist()
                if quantile is None or record["quantile"] == quantile
            ]
            start += part.num_rows
        return found

    def _example(self, record: dict[str, Any]) -> Example:
        peak, row = record["peak"], record["row"]
        values = [step * record["scale"] for step in record["activations"]]
        values[peak] = record["value"]
        around = self._window(row - peak, row - peak + len(values))
        ids = around["ids"].tolist()
        return Example(
            document=int(around["documents"][peak]),
            position=int(around["positions"][peak]),
            row=row,
            tokens=tuple(characters([self._text(token) for token in ids])),
            token_ids=tuple(ids),
            values=tuple(values),
            peak=peak,
            value=record["value"],
            quantile=None if record["quantile"] == TOP else record["quantile"],
        )

    def top(self, feature: int) -> list[Example]:
        """The top examples alone, strongest first."""
        return self.examples(feature, TOP)

    def peak_tokens(self, feature: int, count: int = PEAKS) -> list[str]:
        """The tokens at the peaks of its top examples, the most frequent first, 4 at most."""
        return [self._text(token) for token in self._entry("peak_ids", feature)[:count]]

    def promoted(self, feature: int) -> list[tuple[str, float]]:
        """Tokens that the feature's direction raises most, with the direct logit effect per unit
        of activation; empty where the site does not write into the residual stream."""
        return self._tokens_of("promoted", feature)

    def suppressed(self, feature: int) -> list[tuple[str, float]]:
        """Tokens that the feature's direction lowers most, most lowered first."""
        return self._tokens_of("suppressed", feature)

    def _tokens_of(self, name: str, feature: int) -> list[tuple[str, float]]:
        pairs = self._pairs(f"{name}_ids", f"{name}_logits", feature)
        return [(self._text(token), logit) for token, logit in pairs]

    def _pairs(self, first: str, second: str, feature: int) -> list[tuple[int, float]]:
        return list(zip(*(self._entry(name, feature) for name in (first, second)), strict=True))

    def promoted_ids(self, feature: int) -> list[int]:
        """Token ids of `promoted`."""
        found: list[int] = self._entry("promoted_ids", feature)
        return found

    def neighbours(self, feature: int) -> list[tuple[int, float]]:
        """Features with the most similar decoder direction, and the cosine."""
        return self._pairs("neighbours", "neighbour_cosines", feature)

    def coactive(self, feature: int) -> list[tuple[int, float]]:
        """Features that fire on the same tokens more than chance, and the correlation of firing
        (0 by chance, 1 where they always fire together)."""
        return self._pairs("coactive", "coactive_correlations", feature)

    # Search

    def texts(self) -> Iterator[Texts]:
        """What each feature is found by."""
        ids, words = self.tokens.ids, self._token_file.texts
        found = groupby(self._top_windows(), lambda window: window[0])
        feature, windows = next(found, (self.num_features, iter(())))
        for number in track(
            range(self.num_features), f"texts of {self.dictionary} to search", unit="features"
        ):
            shown: list[tuple[list[str], int]] = []
            if number == feature:
                for _, start, size, peak in windows:
                    part = ids[start : start + size].tolist()
                    tokens = characters([words.get(token, "?") for token in part])
                    shown.append((tokens, first_shown(tokens, peak)))
                feature, windows = next(found, (self.num_features, iter(())))
            yield Texts(shown, [words.get(token, "?") for token in self.promoted_ids(number)])

    def _top_windows(self) -> Iterator[tuple[int, int, int, int]]:
        """Of every top example the feature, the first row of its window, its size and its peak."""
        for number in range(self._tables[EXAMPLES].metadata.num_row_groups):
            group = self._group(EXAMPLES, number)
            feature, quantile, row, peak = (
                group.column(name).to_numpy() for name in ("feature", "quantile", "row", "peak")
            )
            size = pc.list_value_length(group.column("activations")).to_numpy()
            top = quantile == TOP
            columns = (feature[top], (row - peak)[top], size[top], peak[top])
            yield from zip(*(column.tolist() for column in columns), strict=True)

    def search(self, text: str, *, limit: int = 20, token: bool = False) -> list[Hit]:
        """Features whose top examples or promoted tokens hold `text`, best first; of a token
        without letters and digits, those that peak on it or promote it. `token`: those alone that
        peak on it, as a token or else as a word.

        Raises:
            InputError: the text is blank.
        """
        return search_index(self.search_folder, self.dictionary, text, limit, token=token)

    @cached_property
    def search_folder(self) -> Path:
        """Where its search file lies. That of a small copy is made at its first use, in the user's
        cache."""
        if (self.folder / FILE).is_file() or "kept" not in self.manifest:
            return self.folder
        identity = self.manifest["files"][EXAMPLES]["sha256"]
        folder = cache_folder() / "search" / f"{self.hash[:16]}-{identity[:16]}"
        if not (folder / FILE).is_file():
            with atomic_folder(folder) as new:
                write_search(new, self.texts())
        return folder
