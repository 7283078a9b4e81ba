"""Systems that are always scored beside it, and two ceilings that no feature system is.

Systems (interface.Features): the hidden units of the layer's MLP, the principal components, random
directions, an untrained dictionary of the same shape. Detectors by counts: single tokens and
single bigrams, as features of their own. Ceilings, one detector a concept:

- lookup: each token (with backoff: each bigram) scores the share of its occurrences on the
  selection half that are positive; a threshold from the same half. The best that can be done
  without context.
- probe: logistic regression on the site's standardised activations, Newton's method on all tokens
  of mentions and a sample of negatives, once more with each mention's token and the negatives that
  came out highest, and a threshold on the whole selection half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import InputError, seeded, track
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.model import Model
from inscape.training.initial import initial_weights
from inscape_microworld.benchmark.detection import best_threshold, sparse_auroc
from inscape_microworld.benchmark.interface import (
    DictionaryFeatures,
    Entries,
    entries,
    signed_direction,
    signed_entries,
)
from inscape_microworld.benchmark.matching import Tokens, f1_score
from inscape_microworld.benchmark.scored import Scored, Sparse, by_feature

SAMPLE = 4096  # rows that the untrained dictionary's offset is taken from
PROBE_POSITIVES, PROBE_NEGATIVES, PROBE_HARD = 3000, 3000, 2000
NEWTON_STEPS = 8
PENALTY = 1.0
Made = TypeVar("Made")


class Neurons:
    """The hidden units of one layer's MLP (what its last matrix reads), each as two features.

    Reads `mlp_in.L`, from which the units follow, and writes `mlp_out.L` (exact where no norm
    follows the MLP).
    """

    def __init__(self, model: Model, layer: int) -> None:
        mlp = model.structure.blocks[layer].mlp
        inner = [m for m in mlp.modules() if getattr(getattr(m, "weight", None), "ndim", 0) == 2]
        self.name, self.site, self.site_out = "neurons", f"mlp_in.{layer}", f"mlp_out.{layer}"
        self._mlp, self._last = mlp, inner[-1]
        weight = self._last.weight
        if not isinstance(weight, Tensor):
            raise TypeError(f"the last matrix of layer {layer}'s MLP has no weight")
        weight = weight.detach().float()
        # Linear keeps [out, in]; GPT-2's Conv1D keeps [in, out]
        self._directions = weight.T if isinstance(self._last, torch.nn.Linear) else weight
        self.num_features = 2 * self._directions.shape[0]

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_model"]) -> Entries:
        """Units u where they are positive, u + units where they are negative."""
        hidden: list[Tensor] = []
        handle = self._last.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
        try:
            # past the hooks of a pass of the model that may be under way
            self._mlp.forward(x.to(self._directions))
        finally:
            handle.remove()
        return signed_entries(hidden[0].float())

    def direction(self, feature: int) -> Float[Tensor, " d_model"]:
        """What the unit adds to the residual stream."""
        return signed_direction(self._directions, feature)


class Directions:
    """Projections on fixed unit directions [units, d_model], each as two features."""

    def __init__(self, name: str, site: str, mean: Tensor, directions: Tensor) -> None:
        self.name, self.site = name, site
        self._mean, self._directions = mean.float(), directions.float()
        self.num_features = 2 * directions.shape[0]

    def encode(self, x: Float[Tensor, "n d_model"]) -> Entries:
        """The two signs of (x - mean) · direction."""
        return signed_entries((x.float() - self._mean) @ self._directions.T)

    def direction(self, feature: int) -> Float[Tensor, " d_model"]:
        """The direction, or its opposite."""
        return signed_direction(self._directions, feature)


def principal(scored: Scored, site: str) -> Directions:
    """The principal components of a site's activations on the selection half."""
    x = _chosen(scored, site)
    mean = x.mean(0)
    centred = x - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    return Directions("principal components", site, mean, vectors.T.flip(0))


def random_directions(scored: Scored, site: str, *, seed: int = 0) -> Directions:
    """d_model random unit directions, around the mean of the selection half."""
    x = _chosen(scored, site)
    generator = torch.Generator().manual_seed(seeded(seed, "random directions"))
    rows = torch.randn((x.shape[1], x.shape[1]), generator=generator)
    return Directions("random directions", site, x.mean(0), rows / rows.norm(dim=1, keepdim=True))


def untrained(scored: Scored, site: str, d_dict: int, k: int, *, seed: int = 0) -> Dictionary:
    """A dictionary as training would begin with it (wrap it in DictionaryFeatures to score it)."""
    x = _chosen(scored, site)
    config = DictionaryConfig(
        site_in=site,
        site_out=site,
        d_in=x.shape[1],
        d_out=x.shape[1],
        d_dict=d_dict,
        k=k,
        subtract_b_dec=True,
    )
    sample = x[:: max(1, len(x) // SAMPLE)]
    weights = initial_weights(config, sample=sample, target_mean=x.mean(0), seed=seed)
    return Dictionary(config, weights, name="untrained dictionary")


def baseline_systems(
    model: Model, scored: Scored, site: str, d_dict: int, k: int, *, seed: int = 0
) -> list[Neurons | Directions | DictionaryFeatures]:
    """The four feature systems beside a dictionary of `site` with d_dict features and k.

    Raises:
        InputError: the site has no layer, or `scored` lacks the site or the layer's mlp_in.
    """
    layer = model.site(site).layer
    if layer is None:
        raise InputError(f"site {site!r} has no neurons", expected="a site of a layer")
    return [
        Neurons(model, layer),
        principal(scored, site),
        random_directions(scored, site, seed=seed),
        DictionaryFeatures(untrained(scored, site, d_dict, k, seed=seed)),
    ]


def single_tokens(scored: Scored) -> Sparse:
    """Every token id as a feature that fires on it."""
    rows = np.flatnonzero(scored.considered)
    return _one_hot("single token", scored.tokens, rows)


def single_bigrams(scored: Scored) -> Sparse:
    """Every pair of a token and the one before it as a feature."""
    rows = np.flatnonzero(scored.considered)
    return _one_hot("single bigram", bigram_ids(scored), rows)


def bigram_ids(scored: Scored) -> NDArray[np.int64]:
    """A number for each row's pair of tokens, [n]; the first row pairs with itself."""
    before = np.concatenate([scored.tokens[:1], scored.tokens[:-1]])
    pairs = before * (int(scored.tokens.max()) + 1) + scored.tokens
    ids: NDArray[np.int64] = np.unique(pairs, return_inverse=True)[1].reshape(-1)
    return ids


def _one_hot(name: str, ids: NDArray[np.int64], rows: NDArray[np.int64]) -> Sparse:
    ones = np.ones(len(rows), np.float32)
    part = rows.astype(np.int32), ids[rows].astype(np.int32), ones
    return by_feature(name, int(ids.max()) + 1, [part])


@dataclass(frozen=True)
class Ceiling:
    """The detectors of one concept that are no features, judged on the judging half.

    lookup_f1: the best by token and bigram; probe_f1, probe_auroc: the supervised probe.
    """

    concept: str
    token_f1: float
    bigram_f1: float
    probe_f1: float
    probe_auroc: float

    @property
    def lookup_f1(self) -> float:
        """The better of the token and the bigram detector."""
        return max(self.token_f1, self.bigram_f1)

    @property
    def needs_context(self) -> bool:
        """Whether token and bigram stay below 0.9 of the probe's F1."""
        return self.lookup_f1 < 0.9 * self.probe_f1

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "needs_context": self.needs_context}


class Probes:
    """A supervised probe for each of some concepts, as features: no system, but a ceiling.

    Learnt on the selection half; the activation is the probability that the probe gives.
    """

    def __init__(
        self, scored: Scored, site: str, concepts: Iterable[Tokens], *, seed: int = 0
    ) -> None:
        self.name, self.site = "probe", site
        x, self._mean, self._scale = _standardised(scored, site)

        def learnt(tokens: Tokens) -> Tensor:
            return _probe_weights(x, scored, tokens, _generator(seed, tokens))

        weights = _of_each(concepts, learnt)
        self._weights = torch.stack(weights)
        self.num_features = len(weights)

    def encode(self, x: Float[Tensor, "n d_model"]) -> Entries:
        """Every probe's probability, where it is above nothing."""
        z = (x.float() - self._mean) / self._scale @ self._weights[:, :-1].T + self._weights[:, -1]
        return entries(torch.sigmoid(z))

    def direction(self, feature: int) -> Float[Tensor, " d_model"]:
        """What raises the probe's log-odds most."""
        return self._weights[feature, :-1] / self._scale


def ceilings(
    scored: Scored, site: str, concepts: Iterable[Tokens], *, seed: int = 0
) -> dict[str, Ceiling]:
    """The lookup and the probe of every concept (`matching.concept_tokens` gives them)."""
    x, _, _ = _standardised(scored, site)
    ids = scored.tokens, bigram_ids(scored)

    def ceiling(tokens: Tokens) -> Ceiling:
        token, bigram = _lookup(scored, tokens, *ids)
        weights = _probe_weights(x, scored, tokens, _generator(seed, tokens))
        f1, auroc = _judged(scored, tokens, (x @ weights).numpy())
        return Ceiling(tokens.concept, token, bigram, f1, auroc)

    return {found.concept: found for found in _of_each(concepts, ceiling)}


def _of_each(concepts: Iterable[Tokens], make: Callable[[Tokens], Made]) -> list[Made]:
    """What is made of every concept, several at once: most of it is sorting, which is no more than
    one thread's work."""
    listed = list(concepts)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(track(pool.map(make, listed), "probes", total=len(listed)))


def _generator(seed: int, tokens: Tokens) -> np.random.Generator:
    return np.random.default_rng(seeded(seed, "probe", tokens.concept))


def _standardised(scored: Scored, site: str) -> tuple[Tensor, Tensor, Tensor]:
    """A site's activations as probes take them, a column of ones last; the selection half's mean
    and scale."""
    chosen = _chosen(scored, site)
    mean, scale = chosen.mean(0), chosen.std(0).clamp_min(1e-6)
    x = torch.nn.functional.pad((scored.site(site) - mean) / scale, (0, 1), value=1.0)
    return x, mean, scale


def _chosen(scored: Scored, site: str) -> Tensor:
    return scored.site(site)[torch.from_numpy(scored.selection & scored.considered)]


def _lookup(
    scored: Scored, tokens: Tokens, ids: NDArray[np.int64], pairs: NDArray[np.int64]
) -> tuple[float, float]:
    """F1 of the lookup by token, and by bigram with backoff to the token."""
    chosen = np.flatnonzero(tokens.counted & scored.selection)
    positive = tokens.positive[chosen]
    by_token = _shares(ids, chosen, positive)[0]
    shares, seen = _shares(pairs, chosen, positive)
    both = np.where(seen[pairs], shares[pairs], by_token[ids])
    return _judged(scored, tokens, by_token[ids])[0], _judged(scored, tokens, both)[0]


def _shares(
    ids: NDArray[np.int64], chosen: NDArray[np.int64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of each id the share of positives among its chosen rows, and whether it has any. One more
    row counts as negative, so that ids seen often rank above those seen once."""
    size = int(ids.max()) + 1
    total = np.bincount(ids[chosen], minlength=size)
    return np.bincount(ids[chosen], positive, minlength=size) / (total + 1), total > 0


def _judged(scored: Scored, tokens: Tokens, score: NDArray[Any]) -> tuple[float, float]:
    """(F1, AUROC) on the judging half of a score [n], its threshold from the selection half."""
    values, labels = tokens.collapsed(score, scored.selection)
    # Scores that are not above the lowest mention's never matter to the threshold.
    kept = values >= values[labels].min()
    threshold, _ = best_threshold(values[kept], labels[kept], int(labels.sum()))
    f1 = f1_score((score >= threshold) & (score > score.min()), tokens, ~scored.selection)[0]
    values, labels = tokens.collapsed(score, ~scored.selection)
    auroc = sparse_auroc(values, labels, int(labels.sum()), int((~labels).sum()))
    return f1, auroc


def _probe_weights(
    x: Tensor, scored: Scored, tokens: Tokens, generator: np.random.Generator
) -> Float[Tensor, " d_model+1"]:
    """The probe of the standardised activations, its constant last."""
    chosen = tokens.counted & scored.selection
    positive = np.flatnonzero(chosen & tokens.positive)
    negative = np.flatnonzero(chosen & ~tokens.positive)
    positive = generator.permutation(positive)[:PROBE_POSITIVES]
    sample = generator.permutation(negative)[:PROBE_NEGATIVES]
    weights = _newton(x, positive, sample, torch.zeros(x.shape[1]))
    score = (x @ weights).numpy()
    # What has to be found is the mention: its token that shows the concept most.
    positive = _tops(score, tokens.mention, positive)
    scores = score[negative]
    hard = negative[np.argpartition(-scores, min(PROBE_HARD, len(scores) - 1))[:PROBE_HARD]]
    return _newton(x, positive, np.union1d(sample, hard), weights)


def _tops(
    score: NDArray[np.float32], mention: NDArray[np.int32], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Of these rows, the one with the greatest score of each mention."""
    order = rows[np.lexsort((-score[rows], mention[rows]))]
    found: NDArray[np.int64] = order[np.unique(mention[order], return_index=True)[1]]
    return found


def _newton(
    x: Tensor, positive: NDArray[np.int64], negative: NDArray[np.int64], weights: Tensor
) -> Tensor:
    """Penalised logistic regression by Newton's method; the last column is the constant."""
    rows = x[torch.from_numpy(np.concatenate([positive, negative]))]
    y = torch.zeros(len(rows))
    y[: len(positive)] = 1.0
    penalty = torch.full((x.shape[1],), PENALTY)
    penalty[-1] = 1e-3

    def loss(w: Tensor) -> float:
        z = rows @ w
        return float((torch.nn.functional.softplus(z) - y * z).sum() + (penalty * w * w).sum() / 2)

    now = loss(weights)
    for _ in range(NEWTON_STEPS):
        p = torch.sigmoid(rows @ weights)
        gradient = rows.T @ (p - y) + penalty * weights
        curved = rows * (p * (1 - p))[:, None]
        step = torch.linalg.solve(rows.T @ curved + torch.diag(penalty), gradient)
        size = 1.0
        while size > 1e-3 and loss(weights - size * step) > now:
            size /= 2
        before, weights = now, weights - size * step
        now = loss(weights)
        if before - now < 3e-3 * max(1.0, before):
            break
    return weights
