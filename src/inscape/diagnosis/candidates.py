"""Which features raise the wrong answer above the correct one: estimate first, then intervene.

1. One backward pass: the gradient g of (wrong logit − correct logit), where the answers part, at
   every site that a dictionary writes, in the unmodified model.
2. A feature's estimated direct effect is Σ over positions of activation · (W_dec[f] · g): what the
   wrong answer's lead would lose, to first order, if the feature were ablated (attribution
   patching, Nanda 2023).
3. The features with the largest estimates are ablated one by one in the unmodified model, many in
   one pass; what the lead really loses is the only figure that counts from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.diagnosis.cases import Batch
from inscape.diagnosis.outcomes import TOKENS, Member
from inscape.diagnosis.study import Study
from inscape.dictionary import Dictionary


@dataclass(frozen=True)
class Estimate:
    """Of every feature of a dictionary, summed over positions, mean over cases.

    effect: the estimated direct effect, positive toward the wrong answer; mass: the activation.
    """

    effect: Float[Tensor, " d_dict"]
    mass: Float[Tensor, " d_dict"]


Estimates = Mapping[Dictionary, Estimate]


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

    @property
    def member(self) -> Member:
        """The feature."""
        return self.dictionary, self.feature


def estimate(study: Study) -> Estimates:
    """The estimated effects of all features of all dictionaries."""
    batch, sums = study.failures, [torch.zeros(2, d.d_dict) for d in study.dictionaries]
    step = max(1, TOKENS // batch.tokens.shape[1])
    for part in torch.split(torch.arange(len(batch)), step):
        _add_effects(study, batch.cases(part), sums)
    means = (Estimate(*(total / len(batch))) for total in sums)
    return dict(zip(study.dictionaries, means, strict=True))


def _add_effects(study: Study, batch: Batch, sums: list[Tensor]) -> None:
    model, leaves = study.model, dict[str, Tensor]()

    def leaf(site: str, x: Tensor) -> Tensor:
        leaves[site] = torch.zeros_like(x, requires_grad=True)
        return x + leaves[site]

    tokens, lengths = batch.stems
    run = model.run(
        tokens.to(model.device),
        read=sorted({"final", *(site for d in study.dictionaries for site in d.reads)}),
        edits={
            site: partial(leaf, site) for site in {s for d in study.dictionaries for s in d.writes}
        },
        grad=True,
    )
    last = model.unembed(run["final"][torch.arange(len(batch)), (lengths - 1).to(model.device)])
    torch.autograd.backward(batch.lead(last).sum())
    counted = batch.counted[batch.first, : tokens.shape[1]]
    counted = counted & (torch.arange(tokens.shape[1]) < lengths[:, None])
    for dictionary, (effect, mass) in zip(study.dictionaries, sums, strict=True):
        parts = {site: run[site].detach()[counted] for site in dictionary.reads}
        code = dictionary.encode(dictionary.concat_sites(parts)).ragged()
        grads = [leaves[site].grad for site in dictionary.writes]
        grad = torch.cat([g[counted] for g in grads if g is not None], -1).to(dictionary.W_dec)
        found = dictionary.config.wiring.value_gradients(code, dictionary.W_dec, grad)
        index = code.indices.cpu()
        effect.index_add_(0, index, (found * code.values).cpu())
        mass.index_add_(0, index, code.values.cpu())


def strongest(estimates: Estimates, count: int, *, sign: int = 1) -> list[Member]:
    """The `count` features with the largest estimates (sign −1: the most negative)."""
    members = [(d, feature) for d in estimates for feature in range(d.d_dict)]
    effects = sign * torch.cat([one.effect for one in estimates.values()])
    best = effects.topk(min(count, len(effects)))
    return [
        members[i]
        for i, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        if value > 0
    ]


def measure(study: Study, members: Sequence[Member], estimates: Estimates) -> list[Effect]:
    """Ablate features one by one, on some of the failures; the largest loss of lead first."""
    some = study.some()
    clean, batch, rows = some.logits, some.failures, torch.arange(len(some.failures))
    found = []
    tried = some.outcomes([{member: 1.0} for member in members], "ablating features")
    for (dictionary, feature), result in zip(members, tried, strict=True):
        change = result.logits(study.model, batch) - clean
        change = change - change.mean(-1, keepdim=True)  # a shift of all logits is no effect
        found.append(
            Effect(
                dictionary,
                feature,
                estimate=float(estimates[dictionary].effect[feature]),
                margin=float(-batch.lead(change).mean()),
                wrong=float(change[rows, batch.wrong].mean()),
                correct=float(change[rows, batch.correct].mean()),
                repaired=int(result.answered.sum()),
            )
        )
    return sorted(found, key=lambda effect: -effect.margin)
