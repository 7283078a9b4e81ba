"""Example contexts of a feature: its strongest ones, and some from every interval of strength.

1. Entries of one feature are sorted by row, so the entries of a document lie side by side: one
   `reduceat` gives each document's strongest entry. Documents of equal text count as one.
2. Top examples are the strongest entries of distinct documents; only when there are too few
   documents, further entries of the same ones follow.
3. The interval from 0 to the feature's maximum is cut into equal parts; from each part a few
   entries are drawn at random, again from distinct documents where there are enough. Examples
   from the top alone make a feature look cleaner than it is.
4. A window is the tokens around the entry, cut at the ends of its sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import first_shown

TOP = -1  # the interval number of a top example


@dataclass(frozen=True)
class Example:
    """One context of a feature.

    `tokens`, `token_ids` and `values` (the feature's activation on each token) run over the
    window; of tokens that make up a character together the last one shows it, and the others are
    empty. `peak` is the place in the window of the token that the example is about, `value` the
    activation there. `row` is its number in the token table, `position` its place in its
    sequence. `quantile` is None for a top example, else the interval (0 is the weakest).
    """

    document: int
    position: int
    row: int
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    values: tuple[float, ...]
    peak: int
    value: float
    quantile: int | None

    @property
    def text(self) -> str:
        """The window as one string."""
        return "".join(self.tokens)

    @property
    def shown_peak(self) -> int:
        """The place of the peak, or of the token that completes its character."""
        return first_shown(self.tokens, self.peak)


def sequence_bounds(
    documents: NDArray[np.int32], positions: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and one-past-last row of the sequence (context) that each row belongs to, [n] each.

    A new sequence starts where the document changes or the position does not go up by one.
    """
    n = documents.shape[0]
    starts = np.ones(n, np.bool_)
    starts[1:] = (documents[1:] != documents[:-1]) | (positions[1:] != positions[:-1] + 1)
    first = np.flatnonzero(starts).astype(np.int32)
    number = np.cumsum(starts) - 1
    ends = np.append(first[1:], n).astype(np.int32)
    return first[number], ends[number]


def top_entries(
    documents: NDArray[np.int32], values: NDArray[np.float32], num: int
) -> NDArray[np.int64]:
    """Places of the `num` strongest entries, distinct documents first, strongest first.

    documents and values belong to one feature's entries, in row order.
    """
    starts = np.flatnonzero(np.append(True, documents[1:] != documents[:-1]))
    strongest = np.maximum.reduceat(values, starts)
    ends = np.append(starts[1:], values.size)
    some = min(2 * num, starts.size)
    chosen = _distinct(documents[starts], strongest, some)[:num]
    if chosen.size < num and some < starts.size:
        chosen = _distinct(documents[starts], strongest, starts.size)[:num]
    first = np.array(
        [s + int(values[s:e].argmax()) for s, e in zip(starts[chosen], ends[chosen], strict=True)],
        np.int64,
    )
    missing = min(num, values.size) - first.size
    if missing <= 0:
        return first
    rest = values.copy()
    rest[first] = -1.0
    more = np.argsort(-rest, kind="stable")[:missing]
    return np.concatenate([first, more])


def _distinct(
    documents: NDArray[np.int32], strongest: NDArray[np.float32], some: int
) -> NDArray[np.int64]:
    """Of the `some` strongest places one for each document, strongest first."""
    places = np.arange(strongest.size)
    if some < strongest.size:
        places = np.sort(np.argpartition(-strongest, some - 1)[:some])
    places = places[np.argsort(-strongest[places], kind="stable")]
    _, first = np.unique(documents[places], return_index=True)
    found: NDArray[np.int64] = places[np.sort(first)]
    return found


def interval_entries(
    documents: NDArray[np.int32],
    values: NDArray[np.float32],
    num_intervals: int,
    num_each: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Random places from each of the equal intervals between 0 and the maximum, and their
    interval numbers; an interval with fewer entries gives what it has."""
    scaled = (values * np.float32(num_intervals / values.max())).astype(np.int8)
    interval = np.minimum(scaled, num_intervals - 1)
    places: list[NDArray[np.int64]] = []
    for number in range(num_intervals):
        members = np.flatnonzero(interval == number)
        if members.size > 8 * num_each:
            members = members[rng.choice(members.size, 8 * num_each, replace=False)]
        else:
            members = rng.permutation(members)
        _, distinct = np.unique(documents[members], return_index=True)
        chosen = np.sort(distinct)[:num_each]
        if chosen.size < min(num_each, members.size):
            others = np.setdiff1d(np.arange(members.size), chosen)
            chosen = np.concatenate([chosen, others[: num_each - chosen.size]])
        places.append(members[chosen])
    labels = [np.full(p.size, number, np.int8) for number, p in enumerate(places)]
    return np.concatenate(places), np.concatenate(labels)


PEAKS = 4  # the tokens that a feature peaks on most, listed with its statistics

Columns = dict[str, NDArray[Any]]
"""Examples as columns, one entry each: feature, quantile, row, start (the first row of the window),
length (of the window), value; and window, the activations of all windows one after another."""


def chosen_examples(
    feature: int,
    entries: tuple[NDArray[np.int32], NDArray[np.float32]],
    chosen: tuple[NDArray[np.int64], NDArray[np.int8]],
    bounds: tuple[NDArray[np.int32], NDArray[np.int32]],
    window: tuple[int, int],
) -> Columns:
    """The examples of one feature: of its entries (rows, values) the chosen places, with their
    interval numbers. bounds are those of `sequence_bounds`, beginning-of-text tokens cut off."""
    (rows, values), (places, quantile) = entries, chosen
    row = rows[places]
    start = np.maximum(row - window[0], bounds[0][row])
    end = np.minimum(row + window[1] + 1, bounds[1][row])
    grid = start[:, None] + np.arange(window[0] + window[1] + 1)
    wanted = grid[grid < end[:, None]]
    place = np.minimum(np.searchsorted(rows, wanted), rows.size - 1)
    return {
        "feature": np.full(row.size, feature, np.int32),
        "quantile": quantile,
        "row": row,
        "start": start.astype(np.int32),
        "length": (end - start).astype(np.int32),
        "value": values[places].astype(np.float32),
        "window": np.where(rows[place] == wanted, values[place], np.float32(0)),
    }


def joined(parts: Sequence[Columns]) -> Columns:
    """The examples of several features, one after another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def commonest(ids: NDArray[np.int32], count: int = PEAKS) -> NDArray[np.int32]:
    """The most frequent of some token ids; of equally frequent ones the first."""
    distinct, first, counts = np.unique(ids, return_index=True, return_counts=True)
    chosen: NDArray[np.int32] = distinct[np.lexsort((first, -counts))[:count]]
    return chosen
