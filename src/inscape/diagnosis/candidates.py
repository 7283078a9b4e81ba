"""Which features push the wrong answer over the right one: estimate first, then intervene.

1. One backward pass per case: the gradient g of (wrong logit − right logit) at every dictionary's
   site_out, in the unmodified model.
2. A feature's estimated push is Σ over positions of activation · (W_dec[f] · g): what the margin
   would lose, to first order, if the feature were ablated (attribution patching, Nanda 2023).
3. The features with the largest estimates are ablated one by one in the unmodified model; what the
   margin really loses is the only figure that counts from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import track
from inscape.diagnosis.cases import BATCH, Batch, last_logits
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit
from inscape.model import Model

MEASURED_ON = 48

Member = tuple[Dictionary, int]
"""A feature of a dictionary."""


@dataclass(frozen=True)
class Pushes:
    """Estimated effect of every feature of one dictionary, summed over positions, mean over cases.

    push [d_dict]: toward the wrong answer where positive; mass [d_dict]: summed activation.
    """

    dictionary: Dictionary
    push: Float[Tensor, " d_dict"]
    mass: Float[Tensor, " d_dict"]


@dataclass(frozen=True)
class Effect:
    """What ablating one feature does in the unmodified model: logits, mean over cases."""

    dictionary: Dictionary
    feature: int
    estimate: float
    margin: float
    wrong: float
    correct: float
    repaired: int


def estimate(
    model: Model, dictionaries: Sequence[Dictionary], batch: Batch, wrong: Int[Tensor, " case"]
) -> list[Pushes]:
    """The estimated push of every feature of every dictionary toward the wrong answers."""
    sums = [torch.zeros(2, d.d_dict) for d in dictionaries]
    for begin in range(0, len(batch), BATCH):
        part = slice(begin, begin + BATCH)
        _add_pushes(model, dictionaries, batch.rows(part), wrong[part], sums)
    return [
        Pushes(d, total[0] / len(batch), total[1] / len(batch))
        for d, total in zip(dictionaries, sums, strict=True)
    ]


def _add_pushes(
    model: Model,
    dictionaries: Sequence[Dictionary],
    batch: Batch,
    wrong: Int[Tensor, " case"],
    sums: list[Tensor],
) -> None:
    leaves: dict[str, Tensor] = {}

    def leaf(site: str, x: Tensor) -> Tensor:
        leaves[site] = torch.zeros_like(x, requires_grad=True)
        return x + leaves[site]

    sites_out = {site for d in dictionaries for site in d.config.sites_out}
    run = model.run(
        batch.tokens.to(model.device),
        read=sorted({"final", *(site for d in dictionaries for site in d.config.sites_in)}),
        edits={site: partial(leaf, site) for site in sites_out},
        grad=True,
    )
    rows = torch.arange(len(batch))
    last = model.unembed(run["final"][rows, (batch.lengths - 1).to(model.device)])
    torch.autograd.backward((last[rows, wrong] - last[rows, batch.correct]).sum())
    counted = batch.real
    counted[:, 0] = model.bos_id is None  # BOS is left alone by edits, so it is left out here
    for dictionary, total in zip(dictionaries, sums, strict=True):
        config, weight = dictionary.config, dictionary.W_dec
        read = torch.cat([run[site].detach()[counted] for site in config.sites_in], -1)
        grads = [leaves[site].grad for site in config.sites_out]
        grad = torch.cat([g[counted] for g in grads if g is not None], -1).to(weight)
        code = dictionary.encode(read).ragged()
        push = config.wiring.value_gradients(code, weight, grad) * code.values
        index = code.indices.cpu()
        total[0].index_add_(0, index, push.cpu())
        total[1].index_add_(0, index, code.values.cpu())


def strongest(pushes: Sequence[Pushes], count: int, *, sign: int = 1) -> list[Member]:
    """The `count` features with the largest estimates (sign −1: the most negative)."""
    estimates = torch.cat([sign * p.push for p in pushes])
    owner = torch.cat([torch.full((len(p.push),), i) for i, p in enumerate(pushes)])
    index = torch.cat([torch.arange(len(p.push)) for p in pushes])
    return [
        (pushes[int(owner[i])].dictionary, int(index[i]))
        for i in estimates.topk(min(count, len(estimates))).indices
        if estimates[i] > 0
    ]


def measure(
    model: Model,
    members: Sequence[Member],
    pushes: Sequence[Pushes],
    batch: Batch,
    wrong: Int[Tensor, " case"],
) -> list[Effect]:
    """Ablate features one by one, on at most MEASURED_ON cases; largest loss of margin first."""
    batch, wrong = batch.rows(slice(0, MEASURED_ON)), wrong[:MEASURED_ON]
    estimates = {id(p.dictionary): p.push for p in pushes}
    rows = torch.arange(len(batch))
    clean = last_logits(model, batch)
    effects = []
    for dictionary, feature in track(members, "ablating features"):
        logits = last_logits(model, batch, [FeatureEdit(dictionary, feature, "ablate")])
        change = logits - clean
        change = change - change.mean(-1, keepdim=True)  # a shift of all logits is no effect
        down, up = -change[rows, wrong], change[rows, batch.correct]
        effects.append(
            Effect(
                dictionary,
                feature,
                estimate=float(estimates[id(dictionary)][feature]),
                margin=float((down + up).mean()),
                wrong=float(-down.mean()),
                correct=float(up.mean()),
                repaired=int((logits.argmax(-1) == batch.correct).sum()),
            )
        )
    return sorted(effects, key=lambda e: -e.margin)
