"""Matching on planted systems: what is chosen, on which tokens, and on which half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from inscape.core import InputError
from inscape.labels import document_halves
from inscape_microworld.benchmark import matching
from inscape_microworld.benchmark.baselines import Probes, ceilings, single_bigrams, single_tokens
from inscape_microworld.benchmark.crossform import cross_form
from inscape_microworld.benchmark.detection import best_threshold
from inscape_microworld.benchmark.matching import (
    ConceptMatch,
    concept_tokens,
    f1_score,
    match_concepts,
)
from inscape_microworld.benchmark.scored import Scored, Sparse, by_feature, encode
from inscape_microworld.benchmark.summary import score_system
from inscape_microworld.truth import Truth

NUM_DOCUMENTS, LENGTH = 200, 12
NUM_TOKENS = NUM_DOCUMENTS * LENGTH
GENERATOR = np.random.default_rng(0)


def world() -> Scored:
    """Documents of 12 tokens, the first of them BOS. Every third has "one" on two tokens and its
    scope to the end, every other "two" on one; every fourth "here" in one of two forms."""
    starts = np.arange(NUM_DOCUMENTS) * LENGTH
    spans, scopes = {}, {}
    for name, step, width in (("one", 3, 2), ("two", 2, 1)):
        onset = starts[::step] + GENERATOR.integers(1, 7, len(starts[::step]))
        spans[name] = np.stack([onset, onset + width], 1)
        scopes[name] = np.stack([onset, starts[::step] + LENGTH], 1)
    for i, name in enumerate(("here", "there", "abroad")):
        onset = starts[i::4] + 8
        spans[name] = np.stack([onset, onset + 2], 1)
        scopes[name] = np.stack([onset, starts[i::4] + LENGTH], 1)
    forms = {
        c: [("name", "description")[i // 2 % 2] for i in range(len(r))] for c, r in spans.items()
    }
    truth = Truth(starts, NUM_TOKENS, spans, scopes, forms)
    tokens = GENERATOR.integers(1, 40, NUM_TOKENS)
    tokens[starts] = 0
    documents = np.repeat(np.arange(NUM_DOCUMENTS, dtype=np.int32), LENGTH)
    x = torch.randn((NUM_TOKENS, 8), generator=torch.Generator().manual_seed(0))
    x[:, 0] += 12 * torch.from_numpy(truth.span_mask("one"))
    return Scored(
        tokens, documents, tokens != 0, document_halves(documents), truth, {"resid_post.0": x}
    )


SCORED = world()
ONE, TWO = SCORED.truth.span_mask("one"), SCORED.truth.span_mask("two")
LATER = SCORED.truth.scope_mask("one") & ~ONE


def system(*fired: tuple[np.ndarray, np.ndarray | float]) -> Sparse:
    """Features that are active on a mask, with these values [n]."""
    parts = []
    for feature, (mask, values) in enumerate(fired):
        rows = np.flatnonzero(mask & SCORED.considered)
        strength = np.broadcast_to(np.asarray(values, np.float32), (NUM_TOKENS,))[rows]
        parts.append((rows.astype(np.int32), np.full(len(rows), feature, np.int32), strength))
    return by_feature("planted", len(fired), parts)


def noise(count: int = 1, share: float = 0.3) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (GENERATOR.random(NUM_TOKENS) < share, GENERATOR.integers(1, 30, NUM_TOKENS) / 8)
        for _ in range(count)
    ]


def match(sparse: Sparse, concept: str = "one", scored: Scored = SCORED) -> ConceptMatch:
    (found,) = match_concepts(scored, sparse, concepts=[concept])
    return found


def test_a_feature_that_is_the_concept_scores_one_and_noise_does_not() -> None:
    found = match(system(*noise(3), (ONE, 2.0)))
    assert (found.feature, found.f1, found.auroc, found.needed) == (3, 1, 1, 1)
    assert found.features == (3,)
    assert found.thresholds == found.means == (2.0,)
    assert match(system(*noise(3))).f1 < 0.4
    found = match(system(*noise(3)), "two")  # of one token: the best of several would beat chance
    assert found.f1 < 0.4
    assert abs(found.auroc - 0.5) < 0.1


def test_a_system_without_a_feature_on_the_concept_scores_nothing() -> None:
    found = match(system((~ONE & ~LATER, 1.0)))
    assert (found.feature, found.f1, found.union_f1, found.features) == (-1, 0, 0, ())


def test_later_tokens_of_the_scope_count_neither_way() -> None:
    found = match(system((ONE | LATER, 1.0)))
    assert (found.f1, found.precision, found.later_recall) == (1, 1, 1)
    found = match(system((LATER, 1.0)))
    assert found.feature == -1
    (tokens,) = concept_tokens(SCORED, concepts=["one"])
    assert not (tokens.positive & tokens.later).any()
    assert not tokens.counted[~SCORED.considered].any()


def test_a_mention_is_found_by_one_of_its_tokens_and_other_tokens_count_one_by_one() -> None:
    onsets = SCORED.truth.spans["one"][:, 0]
    first = np.zeros(NUM_TOKENS, np.bool_)
    first[onsets] = True
    found = match(system((first, 1.0)))
    assert (found.f1, found.auroc) == (1, 1)
    assert found.token_recall == 0.5
    two = SCORED.truth.spans["two"][:, 0]  # as many wrong tokens as there are of these
    wrong = np.zeros(NUM_TOKENS, np.bool_)
    wrong[two] = True
    wrong &= SCORED.considered & ~ONE & ~LATER
    found = match(system((first | wrong, 1.0)))
    (tokens,) = concept_tokens(SCORED, concepts=["one"])
    judged = ~SCORED.selection
    mentions = tokens.num_mentions(judged)
    assert mentions == np.isin(np.flatnonzero(judged), onsets).sum()
    assert found.precision == pytest.approx(mentions / (mentions + (wrong & judged).sum()))
    assert found.recall == 1


def test_a_union_joins_the_parts_of_a_concept() -> None:
    parts = [ONE & (SCORED.documents % 9 == rest) for rest in (0, 3, 6)]
    found = match(system(*noise(2), *((part, 1.5) for part in parts)))
    assert sorted(found.features) == [2, 3, 4]
    assert found.union_f1 == 1
    assert found.needed == 3
    assert found.union_f1s[0] == found.f1 < 0.6
    assert list(found.union_f1s) == sorted(found.union_f1s)


def test_features_and_thresholds_come_from_the_selection_half() -> None:
    half = SCORED.selection
    # On the selection half 2 parts the classes; on the other half 8 would.
    values = np.where(half, np.where(ONE, 3.0, 1.0), np.where(ONE, 9.0, 7.0))
    found = match(system((np.ones(NUM_TOKENS, np.bool_), values), (ONE & ~half, 1.0)))
    assert (found.feature, found.thresholds[0], found.selection_f1) == (0, 3.0, 1.0)
    assert found.precision < 0.2
    assert found.recall == found.auroc == 1


def reference(sparse: Sparse, concept: str) -> tuple[int, float, float]:
    """The best (feature, threshold, F1) by the plain search."""
    (tokens,) = concept_tokens(SCORED, concepts=[concept])
    best = (-1, float("inf"), 0.0)
    for feature in range(sparse.num_features):
        rows, values = sparse.of(feature)
        score = np.zeros(NUM_TOKENS)
        score[rows] = values
        found, labels = tokens.collapsed(score, SCORED.selection)
        pair = best_threshold(found[found > 0], labels[found > 0], int(labels.sum()))
        if pair[1] > best[2]:
            best = (feature, *pair)
    return best


@pytest.mark.parametrize("share", [0.02, 0.3, 0.95])
@pytest.mark.parametrize("concept", ["one", "two"])
def test_the_walk_finds_what_the_plain_search_finds(share: float, concept: str) -> None:
    sparse = system(*noise(20, share))
    found = match(sparse, concept)
    assert (found.feature, found.thresholds[0]) == reference(sparse, concept)[:2]
    assert found.selection_f1 == pytest.approx(reference(sparse, concept)[2])


def test_a_union_has_the_figures_that_its_members_give() -> None:
    sparse = system(*noise(20))
    found = match(sparse)
    fires = np.zeros(NUM_TOKENS, np.bool_)
    for feature, threshold in zip(found.features, found.thresholds, strict=True):
        rows, values = sparse.of(feature)
        fires[rows[values >= threshold]] = True
    (tokens,) = concept_tokens(SCORED, concepts=["one"])
    judged = f1_score(fires, tokens, ~SCORED.selection)
    assert found.union_f1 == pytest.approx(judged[0])


def test_the_probe_finds_what_is_there_and_a_lookup_does_not() -> None:
    tokens = list(concept_tokens(SCORED, concepts=["one", "two"]))
    found = ceilings(SCORED, "resid_post.0", tokens)
    assert found["one"].probe_f1 > 0.95
    assert found["one"].needs_context
    assert found["two"].probe_f1 < 0.3
    assert match(single_tokens(SCORED)).f1 < 0.3
    assert match(single_bigrams(SCORED)).f1 < 0.3
    planted = SCORED.tokens.copy()
    planted[ONE] = 41
    scored = Scored(
        planted, SCORED.documents, SCORED.considered, SCORED.selection, SCORED.truth, SCORED.acts
    )
    (one,) = ceilings(scored, "resid_post.0", tokens[:1]).values()
    assert one.token_f1 == 1
    assert not one.needs_context
    assert match(single_tokens(scored), scored=scored).f1 == 1


def test_probes_are_scored_as_features() -> None:
    tokens = list(concept_tokens(SCORED, concepts=["one", "two"]))
    probes = Probes(SCORED, "resid_post.0", tokens)
    (one,) = match_concepts(SCORED, encode(SCORED, probes), concepts=["one"])
    assert one.feature == 0
    assert one.f1 > 0.95
    assert int(probes.direction(0).abs().argmax()) == 0  # the coordinate that was planted


def test_shares_hold_a_system_against_the_probe() -> None:
    ceiling = ceilings(SCORED, "resid_post.0", concept_tokens(SCORED, concepts=["one", "two"]))
    both = ["one", "two"]
    perfect = match_concepts(SCORED, system((ONE, 1.0), (TWO, 1.0)), concepts=both)
    found = score_system("perfect", perfect, ceiling)
    assert found.single["all"].count == 1  # the probe does not find "two"
    assert found.single["needs context"].value == found.union["all"].value == 1
    assert found.f1.count == 2
    poor = score_system("poor", match_concepts(SCORED, system(*noise(4)), concepts=both), ceiling)
    assert poor.single["all"].value == poor.merged.value == 0
    assert poor.to_json()["single"]["without context"]["value"] is None


def landmark_system(*features: Sequence[tuple[str, str | None]]) -> Sparse:
    """Features that fire on mentions of (landmark, form)."""
    masks = []
    for parts in features:
        mask = np.zeros(NUM_TOKENS, np.bool_)
        for key, form in parts:
            mask |= SCORED.truth.span_mask(key, form)
        masks.append((mask, 1.0))
    return system(*masks)


@pytest.mark.parametrize(
    ("parts", "holds"),
    [
        ([("here", None)], True),
        ([("here", "name")], False),
        ([("here", None), ("there", None)], False),
        ([("here", None), ("abroad", None)], False),
    ],
)
def test_a_landmark_counts_in_every_form_and_alone(
    parts: list[tuple[str, str | None]], holds: bool
) -> None:
    country = {"here": "a", "there": "a", "abroad": "b", "unsaid": "b"}
    found = cross_form(SCORED, landmark_system(parts), country)
    assert [m.landmark for m in found.landmarks] == ["here", "there", "abroad"]
    assert found.landmarks[0].holds is holds
    assert found.holds.count == holds


def test_an_unread_site_is_named() -> None:
    with pytest.raises(InputError, match="was not read"):
        SCORED.site("resid_post.3")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_ranks_count_what_is_at_least_as_great(dtype: type[np.floating[Any]]) -> None:
    values = np.random.default_rng(0).gamma(1.0, size=300).astype(np.float16).astype(dtype)
    values[:20] = values[20]  # equal ones share a rank
    assert matching._ranks(values).tolist() == [int((values >= v).sum()) for v in values]
