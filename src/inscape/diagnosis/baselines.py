"""Three plain ways to the same end, reported beside the features.

1. Leave one token out: the token without which the right answer gains most is the cause; the
   repair takes what the middle layer holds at that token out (its mean stays).
2. Input × gradient: the token whose embedding, times the gradient of the margin, pushes most
   toward the wrong answer; the same repair.
3. The wrong answer's own direction: its unembedding less the right one's, projected out of the
   middle layer at the last token. Its strength is chosen on the failures that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import Share
from inscape.diagnosis.cases import Batch, Case, answered, encode, last_logits
from inscape.model import Model

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
Cause = Callable[[Model, Batch], Int[Tensor, " case"]]


@dataclass(frozen=True)
class Baseline:
    """What one plain method repairs: shares of right answers by named set, and its setting."""

    name: str
    after: Mapping[str, Share]
    setting: str


def baselines(
    model: Model,
    site: str,
    mean: Float[Tensor, " d_model"],
    selection: Sequence[Case],
    judged_on: Mapping[str, Sequence[Case]],
) -> list[Baseline]:
    """The three, applied to the sets in `judged_on`; `mean` is the mean activation of `site`."""
    batches = {name: encode(model, cases) for name, cases in judged_on.items()}
    found = []
    for name, cause in CAUSES.items():
        after = {k: _mean_out(model, site, mean, batch, cause) for k, batch in batches.items()}
        found.append(Baseline(name, after, f"mean of {site} at the token found"))
    found.append(_direction(model, site, encode(model, selection), batches))
    return found


def _wrong(model: Model, batch: Batch) -> Int[Tensor, " case"]:
    """What the model says instead of the right answer; where it is right, its second choice."""
    first, second = last_logits(model, batch).topk(2).indices.T
    return torch.where(first == batch.correct, second, first)


def _first(model: Model) -> int:
    """The first position that a cause may have: beginning-of-text is none."""
    return 0 if model.bos_id is None else 1


def _leave_out(model: Model, batch: Batch) -> Int[Tensor, " case"]:
    wrong, first = _wrong(model, batch), _first(model)
    case, left = (batch.real & (torch.arange(batch.tokens.shape[1]) >= first)).nonzero().T
    kept = torch.arange(batch.tokens.shape[1] - 1)[None]
    tokens = batch.tokens[case].gather(1, kept + (kept >= left[:, None]).long())
    shorter = Batch(tokens, batch.lengths[case] - 1, batch.correct[case])
    logits, row = last_logits(model, shorter), torch.arange(len(case))
    margins = torch.full(batch.tokens.shape, float("inf"))
    margins[case, left] = logits[row, wrong[case]] - logits[row, shorter.correct]
    return margins.argmin(1)


def _input_gradient(model: Model, batch: Batch) -> Int[Tensor, " case"]:
    wrong, leaves = _wrong(model, batch), []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[0]

    tokens = batch.tokens.to(model.device)
    run = model.run(tokens, edits={"embed": leaf}, read=["final"], grad=True)
    row = torch.arange(len(batch))
    logits = model.unembed(run["final"][row, (batch.lengths - 1).to(model.device)])
    # Cases do not touch each other: the gradient of the sum is each one's own.
    torch.autograd.backward((logits[row, wrong] - logits[row, batch.correct]).sum())
    gradient = leaves[0].grad
    if gradient is None:
        raise RuntimeError("no gradient reached the embeddings")
    push = (gradient * leaves[0].detach()).sum(-1).cpu()
    push[~batch.real] = -float("inf")
    push[:, : _first(model)] = -float("inf")
    return push.argmax(1)


CAUSES: Mapping[str, Cause] = {
    "leave one token out": _leave_out,
    "input × gradient": _input_gradient,
}
"""Two plain ways to name the position that brings a wrong answer about, in each case."""


def _mean_out(model: Model, site: str, mean: Tensor, batch: Batch, cause: Cause) -> Share:
    return _edited(model, site, batch, cause(model, batch), lambda x: mean.to(x).expand_as(x))


def _edited(
    model: Model,
    site: str,
    batch: Batch,
    position: Int[Tensor, " case"],
    change: Callable[[Tensor], Tensor],
) -> Share:
    """Right answers where `change` acts on one position of the site in each case."""

    def edit(x: Tensor) -> Tensor:
        row = torch.arange(len(x), device=x.device)
        x[row, position.to(x.device)] = change(x[row, position.to(x.device)])
        return x

    run = model.run(batch.tokens.to(model.device), edits={site: edit}, read=["final"])
    last = run["final"][torch.arange(len(batch)), (batch.lengths - 1).to(model.device)]
    return answered(model.unembed(last).cpu(), batch)


def _direction(
    model: Model, site: str, selection: Batch, judged_on: Mapping[str, Batch]
) -> Baseline:
    wrong, right = int(_wrong(model, selection)[0]), int(selection.correct[0])
    head = model.unembedding().float()
    direction = head[wrong] - head[right]
    direction = direction / direction.norm()

    def share(batch: Batch, strength: float) -> Share:
        def turn(x: Tensor) -> Tensor:
            turned: Tensor = x - strength * (x @ direction.to(x))[:, None] * direction.to(x)
            return turned

        return _edited(model, site, batch, batch.lengths - 1, turn)

    best = max(STRENGTHS, key=lambda strength: share(selection, strength).value)
    after = {name: share(batch, best) for name, batch in judged_on.items()}
    return Baseline(
        "the wrong answer's own direction", after, f"strength {best}, last token, {site}"
    )
