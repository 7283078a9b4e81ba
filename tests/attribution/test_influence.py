"""Influence, pruning and scores against dense algebra and graphs done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from inscape.attribution import Edges
from inscape.attribution.influence import influence, prune, ranks, scores, smallest_set


def edges_of(*triples: tuple[int, int, float]) -> Edges:
    source, target, weight = zip(*triples, strict=True)
    return Edges(
        np.array(source, dtype=np.int32),
        np.array(target, dtype=np.int32),
        np.array(weight, dtype=np.float32),
    )


def random_edges(num_nodes: int, seed: int) -> tuple[Edges, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = np.tril(rng.normal(size=(num_nodes, num_nodes)), -1).astype(np.float32)
    dense[rng.random(dense.shape) < 0.4] = 0
    target, source = np.nonzero(dense)
    edges = Edges(
        source.astype(np.int32), target.astype(np.int32), dense[target, source].astype(np.float32)
    )
    return edges, dense.astype(np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_influence_equals_the_matrix_series(seed: int) -> None:
    edges, dense = random_edges(30, seed)
    start = np.random.default_rng(seed).random(30)
    size = np.abs(dense)
    total = size.sum(1, keepdims=True)
    hat = np.divide(size, total, out=np.zeros_like(size), where=total > 0)
    wanted = start @ (np.linalg.inv(np.eye(30) - hat) - np.eye(30))
    np.testing.assert_allclose(influence(edges, start), wanted, rtol=1e-9)


def test_several_starts_at_once_are_each_by_itself() -> None:
    edges, _ = random_edges(30, 0)
    start = np.random.default_rng(1).random((30, 4))
    each = np.stack([influence(edges, column) for column in start.T], 1)
    np.testing.assert_allclose(influence(edges, start), each, rtol=1e-9)


def test_influence_does_not_depend_on_the_order_of_edges() -> None:
    edges, _ = random_edges(30, 0)
    start = np.ones(30)
    mixed = edges.select(np.random.default_rng(0).permutation(len(edges)))
    np.testing.assert_allclose(influence(mixed, start), influence(edges, start), rtol=1e-9)


def test_a_cycle_is_refused() -> None:
    edges = edges_of((0, 1, 1.0), (1, 0, 1.0))
    with pytest.raises(RuntimeError, match="cycle"):
        influence(edges, np.ones(2))


def test_smallest_set_takes_the_fewest_largest() -> None:
    values = np.array([0.1, 0.5, 0.0, 0.3, 0.1])
    assert smallest_set(values, 0.8).tolist() == [False, True, False, True, False]
    assert smallest_set(values, 0.81).sum() == 3
    assert smallest_set(values, 1.0).tolist() == [True, True, False, True, True]
    assert not smallest_set(np.zeros(3), 0.8).any()


def test_ranks_are_cumulative_shares() -> None:
    np.testing.assert_allclose(ranks(np.array([1.0, 6.0, 3.0])), [1.0, 0.6, 0.9])


# Nodes: 0 feature A, 1 feature B, 2 error, 3 token, 4 logit.
EDGES = [(3, 0, 4.0), (3, 1, 1.0), (2, 1, -1.0), (0, 4, 6.0), (1, 4, -2.0), (2, 4, 2.0)]
START = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
IS_FEATURE = np.array([True, True, False, False, False])
IS_ERROR = np.array([False, False, True, False, False])
IS_TOKEN = np.array([False, False, False, True, False])


def test_scores_of_a_graph_done_by_hand() -> None:
    # Influence: A .6, B .2, error .2 + .2·.5 = .3, token .6 + .2·.5 = .7.
    # Inputs: the logit (1) takes .8 from no error, A (.6) all, B (.2) half of it.
    found = scores(edges_of(*EDGES), START, IS_ERROR, IS_TOKEN)
    assert found.replacement == pytest.approx(0.7 / 1.0)
    assert found.completeness == pytest.approx((0.8 + 0.6 + 0.2 * 0.5) / 1.8)


def test_influence_that_ends_in_a_feature_without_inputs_is_unknown() -> None:
    # Without the edges into B, its .2 of the influence comes from nobody knows where.
    found = scores(edges_of(*(e for e in EDGES if e[1] != 1)), START, IS_ERROR, IS_TOKEN)
    assert found.unknown == pytest.approx(0.2)
    assert found.replacement == pytest.approx(0.6)  # errors have the other .2


def test_pruning_keeps_what_carries_influence_and_stays_connected() -> None:
    always = IS_TOKEN | (START > 0)
    kept, kept_edges, size = prune(
        edges_of(*EDGES),
        START,
        always=always,
        is_feature=IS_FEATURE,
        node_share=0.7,
        edge_share=0.98,
    )
    np.testing.assert_allclose(size, [0.6, 0.2, 0.3, 0.7, 0.0], rtol=1e-6)
    # .7 of 1.8 = 1.26 is reached by the token and A; then only token → A → logit is left.
    assert kept.tolist() == [True, False, False, True, True]
    assert kept_edges.tolist() == [True, False, False, True, False, False]


def test_a_feature_whose_inputs_are_unknown_is_dropped() -> None:
    always = IS_TOKEN | (START > 0)
    kept, kept_edges, _ = prune(
        edges_of(*EDGES),
        START,
        always=always,
        is_feature=IS_FEATURE,
        node_share=1.0,
        edge_share=1.0,
        allowed=np.array([False, True, True, True, True]),
    )
    assert kept.tolist() == [False, True, True, True, True]
    assert kept_edges.tolist() == [False, True, True, False, True, True]


def test_a_feature_that_nothing_enters_goes_with_its_edges() -> None:
    triples = [(3, 0, 1.0), (1, 4, 5.0), (0, 4, 1.0)]  # B has no inputs
    kept, kept_edges, _ = prune(
        edges_of(*triples),
        START,
        always=IS_TOKEN | (START > 0),
        is_feature=IS_FEATURE,
        node_share=1.0,
        edge_share=1.0,
    )
    assert kept.tolist() == [True, False, False, True, True]
    assert kept_edges.tolist() == [True, False, True]


@pytest.mark.parametrize("num", [0, 1, 10, 5000, 100_000])
def test_the_smallest_set_without_a_sort(num: int) -> None:
    generator = np.random.default_rng(num)
    values = np.abs(generator.standard_cauchy(num)) * (generator.random(num) > 0.3)
    for share in (0.1, 0.8, 0.98, 1.0):
        chosen = smallest_set(values, share)
        order = np.argsort(-values, kind="stable")
        before = np.cumsum(values[order]) - values[order]
        plain = np.zeros(num, dtype=bool)
        plain[order[(before < (share - 1e-12) * values.sum()) & (values[order] > 0)]] = True
        assert (chosen != plain).sum() <= 2  # sums are rounded in another order
        assert values[chosen].sum() >= (share - 1e-9) * values.sum()
