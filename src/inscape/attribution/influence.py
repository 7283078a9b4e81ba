"""Influence, pruning and scores of a graph, on sparse edges.

1. Normalise: divide |weight| by the sum of |weight| over the edges into the same target.
2. Influence of a node = p·(Â + Â² + …), p the weights of the logit targets. The graph has no
   cycle (an edge goes from a lower layer to a higher), so the series ends after at most
   (layers + 1) terms; it is summed exactly, one sparse product a term.
3. Keep the smallest set of nodes with `node_share` of the influence (tokens and logits always).
4. Normalise again among the kept nodes; an edge's score is its normalised weight times the
   influence of its target. Keep the smallest set of edges with `edge_share` of the score.
5. Drop features and errors that no kept edge leaves, and features that no kept edge enters, until
   nothing changes.

Ameisen et al., "Circuit Tracing" (2025), appendix on pruning and graph scores. Completeness is
taken over the nodes that have inputs (targets and features), as the text there says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inscape.attribution.data import Edges, Mask, Scores

Floats = npt.NDArray[np.float64]
SMALL = 4096


def normalised(edges: Edges, num_nodes: int) -> Floats:
    """|weight| [E] over the sum of |weight| into the same target; 0 where that sum is 0."""
    size = np.abs(edges.weight.astype(np.float64))
    total = np.bincount(edges.target, weights=size, minlength=num_nodes)
    divisor = total[edges.target]
    return np.divide(size, divisor, out=np.zeros_like(size), where=divisor > 0)


def influence(edges: Edges, share: Floats, start: Floats) -> Floats:
    """p·(Â + Â² + …) [N] from p = `start` [N] and the normalised weights `share` [E].

    Raises RuntimeError when the series does not end, that is when the edges have a cycle.
    """
    num_nodes = len(start)
    total = np.zeros(num_nodes)
    current: Floats = start.astype(np.float64)
    for _ in range(num_nodes + 1):
        weights = share * current[edges.target]
        current = np.bincount(edges.source, weights, num_nodes).astype(np.float64)
        if not current.any():
            return total
        total += current
    raise RuntimeError("the attribution graph has a cycle")


def smallest_set(values: Floats, share: float) -> Mask:
    """The largest values [N] that reach `share` of the sum; of equal ones the first. Found by
    halving, in time that grows with N: there may be a hundred million edges."""
    chosen = np.zeros(len(values), dtype=bool)
    need = (share - 1e-12) * values.sum()
    left = np.flatnonzero(values > 0)
    while len(left) > SMALL:
        half = len(left) // 2
        order = np.argpartition(-values[left], half)
        largest = left[order[:half]]
        total = values[largest].sum()
        if total >= need:
            left = largest
        else:
            chosen[largest] = True
            need -= total
            left = left[order[half:]]
    left = np.sort(left)
    order = left[np.argsort(-values[left], kind="stable")]
    before = np.cumsum(values[order]) - values[order]
    chosen[order[before < need]] = True
    return chosen


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
    share = normalised(edges, num_nodes)
    flow = influence(edges, share, start)
    errors, tokens = float(flow[is_error].sum()), float(flow[is_token].sum())
    from_errors = np.bincount(
        edges.target, weights=share * is_error[edges.source], minlength=num_nodes
    )
    has_inputs = np.bincount(edges.target, weights=share, minlength=num_nodes) > 0
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
    share = normalised(edges, len(start))
    score = share * (influence(edges, share, start) + start)[edges.target] * (kept & among)
    there = np.flatnonzero(score)
    if len(there) > num:
        there = there[np.argpartition(-score[there], num)[: num + 1]]
    order = there[np.argsort(-score[there], kind="stable")][:num]
    return [int(edge) for edge in order]


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
    flow = influence(edges, normalised(edges, num_nodes), start)
    kept = smallest_set(flow, node_share)
    if allowed is not None:
        kept &= allowed
    kept |= always
    inside = kept[edges.source] & kept[edges.target]
    part = edges.select(inside)
    share = normalised(part, num_nodes)
    kept_flow = influence(part, share, start)
    chosen = smallest_set(share * (kept_flow + start)[part.target], edge_share)
    kept_edges = np.zeros(len(edges), dtype=bool)
    kept_edges[np.flatnonzero(inside)[chosen]] = True
    return *_connected(edges, kept, kept_edges, always, is_feature), flow


def _connected(
    edges: Edges, kept: Mask, kept_edges: Mask, always: Mask, is_feature: Mask
) -> tuple[Mask, Mask]:
    num_nodes = len(kept)
    while True:
        leaves = np.zeros(num_nodes, dtype=bool)
        enters = np.zeros(num_nodes, dtype=bool)
        leaves[edges.source[kept_edges]] = True
        enters[edges.target[kept_edges]] = True
        now = kept & (always | (leaves & (enters | ~is_feature)))
        if (now == kept).all():
            return kept, kept_edges
        kept = now
        kept_edges = kept_edges & kept[edges.source] & kept[edges.target]
