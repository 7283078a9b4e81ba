"""Finding features by text: a full-text file in each index, searched in milliseconds.

1. `search.sqlite` holds a row a feature in a table of SQLite's FTS5, words reduced to their stems:
   the words at the peaks of its top examples, their windows, and the tokens that it promotes. A
   second table has each peak and promoted token by itself.
2. A query is matched as a phrase whose last word may go on; one of several words also where all of
   them lie near each other. Rank is bm25 (Robertson and Zaragoza 2009), peaks counting most.
3. One token by itself, and a query without letters and digits, such as "=", is looked up among
   the tokens; what is no token, among the words at the peaks.
4. Ranking takes most of the time, so that MOST features at most are ranked: a query that more of
   them hold is looked for at the peaks alone, and there among the first MOST.
"""

from __future__ import annotations

import re
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from inscape.core import InputError, StorageError, short, whole
from inscape.features.table import AGAIN
from inscape.storage import reading

FILE = "search.sqlite"
WEIGHTS = {"peak": 4.0, "window": 1.0, "promoted": 2.0}
NEAR = 10  # most words between those of a query
MOST = 50_000  # features that are ranked
_BLOCK = 100_000  # rows that are written at once
_AROUND = 60  # characters on either side of a peak in which its word ends
_TOKENIZER = "porter unicode61 remove_diacritics 2"


@dataclass(frozen=True)
class Hit:
    """A feature that a search found. score: higher is better, comparable within one search; where:
    in what it was found, such as "label", "peak", "window" or "promoted"; why: the same in words;
    figures: the numbers of it by name."""

    dictionary: str
    feature: int
    score: float
    where: tuple[str, ...]
    why: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """dictionary/index."""
        return f"{self.dictionary}/{self.feature}"


@dataclass
class Texts:
    """What a feature is found by: windows as (tokens, place of the peak), promoted tokens."""

    windows: Sequence[tuple[Sequence[str], int]]
    promoted: Sequence[str]


def write_text_table(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | int]]
) -> None:
    """A new full-text file; each row is a feature's number and its text by column."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA journal_mode = OFF")
        names = ", ".join(columns)
        file.execute(
            f"CREATE VIRTUAL TABLE texts USING fts5({names}, content='', tokenize='{_TOKENIZER}')"
        )
        marks = ", ".join("?" * (len(columns) + 1))
        file.executemany(f"INSERT INTO texts(rowid, {names}) VALUES ({marks})", rows)
        file.execute("INSERT INTO texts(texts) VALUES ('optimize')")


def write_search(folder: Path, features: Iterable[Texts]) -> None:
    """The search file of an index, from the texts of all features in order (step 1)."""
    numbers: dict[str, int] = {}
    token, feature, share, promotes = array("i"), array("i"), array("d"), array("b")

    def rows() -> Iterable[tuple[int, str, str, str]]:
        for number, texts in enumerate(features):
            peaks = Counter(_bare(window[peak]) for window, peak in texts.windows)
            given = texts.promoted if texts.windows else ()  # one that never fires says nothing
            promoted = {_bare(one) for one in given}
            for one in peaks.keys() | promoted:
                token.append(numbers.setdefault(one, len(numbers)))
                feature.append(number)
                share.append(peaks[one] / max(1, len(texts.windows)))
                promotes.append(one in promoted)
            yield (
                number,
                " | ".join(_peak_words(*window) for window in texts.windows),
                " | ".join("".join(window) for window, _ in texts.windows),
                " ".join(given),
            )

    def in_order() -> Iterator[tuple[str, int, float, int]]:
        names = list(numbers)
        place = np.argsort(np.argsort(np.array(names, object))) if names else np.zeros(0, int)
        columns = [np.array(column) for column in (token, feature, share, promotes)]
        order = np.argsort(place[columns[0]], kind="stable")
        for first in range(0, order.size, _BLOCK):
            part = [column[order[first : first + _BLOCK]].tolist() for column in columns]
            yield from zip([names[n] for n in part[0]], *part[1:], strict=True)

    write_text_table(folder / FILE, list(WEIGHTS), rows())
    with closing(sqlite3.connect(folder / FILE)) as file, file:
        file.execute(
            "CREATE TABLE tokens(token TEXT, feature INT, share REAL, promoted INT, "
            "PRIMARY KEY (token, feature)) WITHOUT ROWID"
        )
        file.executemany("INSERT INTO tokens VALUES (?, ?, ?, ?)", in_order())


def _bare(token: str) -> str:
    return token.strip().lower() or token


def _peak_words(window: Sequence[str], peak: int) -> str:
    """The word that holds the peak, and the one before it."""
    before = r"\S*\s*$" if window[peak][:1].isspace() else r"(\S+\s+)?\S*$"
    left = re.search(before, "".join(window[:peak])[-_AROUND:])
    right = re.match(r"\S*", "".join(window[peak + 1 :])[:_AROUND])
    return (left[0] if left else "") + window[peak] + (right[0] if right else "")


def match(
    path: Path, text: str, columns: Sequence[str], weights: Sequence[float], limit: int
) -> list[tuple[int, float, tuple[str, ...]]]:
    """(feature, score, columns that match) in a full-text file, best first (step 2).

    columns: those that the file has; a weight of 0 leaves one out.

    Raises:
        InputError: the text is blank.
        StorageError: the file is missing or damaged.
    """
    words = re.findall(r"[^\W_]+", text)
    query = f'"{" ".join(words)}" *'
    if len(words) > 1:
        query += " OR NEAR({}, {})".format(" ".join(f'"{word}"' for word in words), NEAR)
    used = [column for column, weight in zip(columns, weights, strict=True) if weight]
    with _opened(path) as file:

        def within(*chosen: str) -> str:
            return f"{{{' '.join(chosen)}}} : ({query})"

        many = file.execute(
            "SELECT count(*) FROM (SELECT 1 FROM texts WHERE texts MATCH ? LIMIT ?)",
            (within(*used), MOST + 1),
        ).fetchone()[0]
        # where more hold it, those first that hold it where it counts most
        tries = [used[:1], used] if many > MOST else [used]
        for used in tries:
            ranked = file.execute(
                "SELECT rowid, score FROM (SELECT rowid, "
                f"-bm25(texts, {', '.join(map(str, weights))}) AS score "
                "FROM texts WHERE texts MATCH ? LIMIT ?) ORDER BY score DESC, rowid LIMIT ?",
                (within(*used), MOST, limit),
            ).fetchall()
            if ranked:
                break
        numbers = ", ".join(str(number) for number, _ in ranked)
        inside = {
            column: {
                number
                # the sign keeps SQLite from searching for each number by itself
                for (number,) in file.execute(
                    f"SELECT rowid FROM texts WHERE texts MATCH ? AND +rowid IN ({numbers})",
                    (within(column),),
                )
            }
            for column in used
            if len(used) > 1
        }
    return [
        (number, score, tuple(c for c in used if number in inside.get(c, (number,))))
        for number, score in ranked
    ]


def search_index(
    folder: Path, dictionary: str, text: str, limit: int, *, token: bool = False
) -> list[Hit]:
    """Features of an index that match `text`, best first, at most `limit`; `token`: those that peak
    on it as a token, or else as a word.

    Raises:
        InputError: the text is blank.
        StorageError: the index has no search file, or it is damaged.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"the search text is {short(text)}", expected="a word or a phrase")
    whole(limit, "limit", 1)
    written = any(c.isalnum() for c in text)
    if token or not written:
        found = _search_tokens(folder, dictionary, text, limit, peaks_alone=token)
        if found or not written:
            return found
    weights = {name: weight * (name == "peak" or not token) for name, weight in WEIGHTS.items()}
    hits = match(folder / FILE, text, list(WEIGHTS), list(weights.values()), limit)
    why = "a word that its strongest examples are active on" if token else ""
    return [Hit(dictionary, *hit, why) for hit in hits]


def _search_tokens(
    folder: Path, dictionary: str, text: str, limit: int, *, peaks_alone: bool
) -> list[Hit]:
    """Features whose top examples peak on a token, the larger part of them the better, or (unless
    `peaks_alone`) that promote it."""
    with _opened(folder / FILE) as file:
        rows = file.execute(
            "SELECT feature, ? * share + ? * promoted AS score, share, promoted FROM tokens "
            "WHERE token = ? AND (share > 0 OR ?) ORDER BY score DESC, feature LIMIT ?",
            (
                WEIGHTS["peak"],
                0.0 if peaks_alone else WEIGHTS["promoted"],
                _bare(text),
                not peaks_alone,
                limit,
            ),
        ).fetchall()
    return [
        Hit(
            dictionary,
            feature,
            score,
            ("peak",) * (share > 0) + ("promoted",) * bool(promoted and not peaks_alone),
            f"the token of {share:.0%} of its strongest examples" if share else "",
            {"share": share},
        )
        for feature, score, share, promoted in rows
    ]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A search file, read-only."""
    if not path.is_file():
        raise StorageError(
            f"{path.parent} cannot be searched: it has no {path.name}, which older versions lack",
            next_step=AGAIN,
        )
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with reading(path, AGAIN, sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as file:
        yield file
