"""Influence, pruning and scores of a graph, on sparse edges.

1. Normalise: divide |weight| by the sum of |weight| over the edges into the same target.
2. Influence of a node = p·(Â + Â² + …), p the weights of the logit targets. The graph has no
   cycle, so one pass over the targets, from the last that the model computes to the first, sums the
   series exactly: each gives its influence to its sources.
3. Keep the smallest set of nodes with `node_share` of the influence (tokens and logits always).
4. Normalise again among the kept nodes; an edge's score is its normalised weight times the
   influence of its target. Keep the smallest set of edges with `edge_share` of the score.
5. Drop features and errors that no kept edge leaves, and features that no kept edge enters, until
   nothing changes.

Ameisen et al., "Circuit Tracing" (2025), appendix on pruning and graph scores. Completeness is
taken over the nodes that have inputs (targets and features), as the text there says.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from inscape.attribution.data import Edges, Indices, Mask, Scores, Weights

Floats = npt.NDArray[np.float64]
SMALL = 4096
PIECE = 2**22  # edges at a time: there may be a hundred million
_BITS = 48  # of a float64 but for sign, exponent and the first four bits of its fraction


def normalised(edges: Edges, num_nodes: int) -> Floats:
    """|weight| [E] over the sum of |weight| into the same target; 0 where that sum is 0."""
    size = np.abs(edges.weight.astype(np.float64))
    divisor = entering(edges, num_nodes)[edges.target]
    return np.divide(size, divisor, out=np.zeros_like(size), where=divisor > 0)


def influence(edges: Edges, start: Floats) -> Floats:
    """p·(Â + Â² + …) of the normalised weights from p = `start`: [N], or several at once [N, S].

    Raises RuntimeError when the edges have a cycle, or nodes that feed others are not numbered in
    the order of the computation.
    """
    total = np.zeros(start.shape)
    for source, weight, target in _rows(edges, len(start)):
        flow = total[target] + start[target]
        size = np.abs(weight, dtype=np.float64)
        whole = size.sum()
        if whole > 0 and flow.any():
            part = np.multiply.outer(size / whole, flow)
            if part.ndim == 1:
                np.add.at(total, source, part)
            else:
                total[source] += part
    return total


def _rows(edges: Edges, num_nodes: int) -> Iterator[tuple[Indices, Weights, int]]:
    """Sources and weights of the edges into each target, and the target, each after all that it
    feeds: first what feeds nothing, then from the last number to the first."""
    first = _changes(edges.target)
    targets = edges.target[first]
    if len(np.unique(targets)) < len(targets):  # of a file: not by target
        order = np.argsort(edges.target, kind="stable")
        yield from _rows(Edges(*(column[order] for column in vars(edges).values())), num_nodes)
        return
    fed, feeds = np.zeros((2, num_nodes), dtype=bool)
    fed[targets] = True
    for some in _pieces(edges):
        feeds[some.source] = True
    for some in _pieces(edges):
        if (fed[some.source] & feeds[some.target] & (some.source >= some.target)).any():
            raise RuntimeError("the attribution graph has a cycle")
    last = np.append(first[1:], len(edges))
    for number in np.lexsort((-targets, feeds[targets])):
        part = slice(first[number], last[number])
        yield edges.source[part], edges.weight[part], int(targets[number])


def _changes(values: Indices) -> npt.NDArray[np.int64]:
    """Where another value begins."""
    found = [np.zeros(min(1, len(values)), dtype=np.int64)]
    for first in range(0, len(values), PIECE):
        some = values[first : first + PIECE + 1]
        found.append(first + 1 + np.flatnonzero(some[1:] != some[:-1]))
    return np.concatenate(found)


def _pieces(edges: Edges) -> Iterator[Edges]:
    for first in range(0, len(edges), PIECE):
        yield Edges(*(column[first : first + PIECE] for column in vars(edges).values()))


def entering(edges: Edges, num_nodes: int, among: Mask | None = None) -> Floats:
    """The sum of |weight| [N] into each target, from all sources or some."""
    total = np.zeros(num_nodes)
    for some in _pieces(edges):
        size = np.abs(some.weight, dtype=np.float64)
        if among is not None:
            size *= among[some.source]
        total += np.bincount(some.target, size, num_nodes)
    return total


def smallest_set(values: Floats, share: float) -> Mask:
    """The largest values [N] that reach `share` of the sum; of equal ones the first. Found by
    counting: those that share the leading bits of a value are one bin, and only the bin in which
    the share is reached is ordered."""
    chosen = np.zeros(len(values), dtype=bool)
    need = (share - 1e-12) * values.sum()
    left = np.flatnonzero(values > 0) if len(values) <= SMALL else _bin(values, need, chosen)
    need -= values[chosen].sum()
    order = left[np.argsort(-values[left], kind="stable")]
    before = np.cumsum(values[order]) - values[order]
    chosen[order[before < need]] = True
    return chosen


def _bin(values: Floats, need: float, chosen: Mask) -> npt.NDArray[np.int64]:
    """Marks the bins that lie wholly in the set; the entries of that in which it ends."""
    bins = np.empty(len(values), dtype=np.uint16)
    total = np.zeros(2**16)
    for first in range(0, len(values), PIECE):
        some = slice(first, first + PIECE)
        bins[some] = values[some].view(np.int64) >> _BITS
        total += np.bincount(bins[some], values[some], 2**16)
    above = np.cumsum(total[::-1])[::-1]
    reached = np.flatnonzero(above >= need)
    last = int(reached[-1]) if len(reached) else 0
    np.greater(bins, last, out=chosen)
    return np.flatnonzero((bins == last) & (values > 0))


def ranks(values: Floats) -> Floats:
    """Cumulative share [N] of the sum up to and with each value, the largest first."""
    order = np.argsort(-values, kind="stable")
    total = values.sum()
    result = np.ones(len(values))
    if total > 0:
        result[order] = np.minimum(np.cumsum(values[order]) / total, 1.0)
    return result


def scores(edges: Edges, start: Floats, is_error: Mask, is_token: Mask) -> Scores:
    """The scores of the graph made of these edges (see the class)."""
    num_nodes = len(start)
    flow = influence(edges, start)
    errors, tokens = float(flow[is_error].sum()), float(flow[is_token].sum())
    into = entering(edges, num_nodes)
    has_inputs = into > 0
    from_errors = entering(edges, num_nodes, is_error) / np.where(has_inputs, into, 1.0)
    unknown = float(flow[~(is_error | is_token | has_inputs)].sum())
    ends = tokens + errors + unknown
    weight = (flow + start) * has_inputs
    total = float(weight.sum())
    return Scores(
        replacement=tokens / ends if ends > 0 else 0.0,
        unknown=unknown / ends if ends > 0 else 0.0,
        completeness=float((weight * (1 - from_errors)).sum()) / total if total > 0 else 0.0,
    )


def strongest(edges: Edges, start: Floats, kept: Mask, among: Mask, num: int) -> list[int]:
    """The kept edges with the largest score (step 4) among some, at most `num`, the largest
    first."""
    there = np.flatnonzero(kept & among)
    part, into = edges.select(there), entering(edges, len(start))
    score = np.abs(part.weight) * (influence(edges, start) + start)[part.target]
    score /= np.where(into > 0, into, 1.0)[part.target]
    order = np.argsort(-score, kind="stable")[:num]
    return [int(edge) for edge in there[order[score[order] > 0]]]


def prune(
    edges: Edges,
    start: Floats,
    *,
    always: Mask,
    is_feature: Mask,
    node_share: float,
    edge_share: float,
    allowed: Mask | None = None,
) -> tuple[Mask, Mask, Floats]:
    """Kept nodes [N], kept edges [E] and the influence [N] of the whole graph (steps 2 to 5).

    always: nodes that stay whatever their influence (tokens and logits).
    allowed: nodes that may stay at all (features whose inputs were not computed may not).
    """
    num_nodes = len(start)
    flow = influence(edges, start)
    kept = smallest_set(flow, node_share)
    if allowed is not None:
        kept &= allowed
    kept |= always
    inside = kept[edges.source] & kept[edges.target]
    part = edges.select(inside)
    share = normalised(part, num_nodes)
    share *= (influence(part, start) + start)[part.target]
    chosen = smallest_set(share, edge_share)
    kept_edges = np.zeros(len(edges), dtype=bool)
    kept_edges[np.flatnonzero(inside)[chosen]] = True
    return *_connected(edges, kept, kept_edges, always, is_feature), flow


def _connected(
    edges: Edges, kept: Mask, kept_edges: Mask, always: Mask, is_feature: Mask
) -> tuple[Mask, Mask]:
    num_nodes = len(kept)
    left = np.flatnonzero(kept_edges)
    while True:
        leaves, enters = np.zeros((2, num_nodes), dtype=bool)
        leaves[edges.source[left]] = True
        enters[edges.target[left]] = True
        now = kept & (always | (leaves & (enters | ~is_feature)))
        if (now == kept).all():
            break
        kept = now
        left = left[kept[edges.source[left]] & kept[edges.target[left]]]
    kept_edges = np.zeros(len(edges), dtype=bool)
    kept_edges[left] = True
    return kept, kept_edges
