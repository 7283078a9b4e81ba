"""Three plain ways to the same end as a diagnosis, reported beside it.

1. Leave one token out: the token without which the correct answer gains most is the cause; the
   repair replaces what the middle layer holds at that token by its mean.
2. Input × gradient: the token whose embedding, times the gradient of the margin, pushes most
   toward the wrong answer; the same repair.
3. The wrong answer's own direction: of each case its unembedding less the correct one's, projected
   out of the middle layer at the last token. Its strength is chosen on the failures at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import Share
from inscape.diagnosis import Case
from inscape.diagnosis.cases import Batch, encode
from inscape.diagnosis.outcomes import judged
from inscape.model import Inputs, Model

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
Cause = Callable[[Model, Batch], Int[Tensor, " case"]]


@dataclass(frozen=True)
class Baseline:
    """What one plain method repairs: correct answers by named set, and its setting."""

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


@torch.no_grad()
def last_logits(
    model: Model, tokens: Tensor, lengths: Tensor, edits: Mapping[str, Callable[[Tensor], Tensor]]
) -> Float[Tensor, "case vocab"]:
    """Logits after the last token of each row."""
    run = model.run(Inputs(tokens.to(model.device)), read=["final"], edits=edits)
    rows = torch.arange(len(tokens))
    return model.unembed(run["final"][rows, (lengths - 1).to(model.device)]).cpu()


def _wrong(model: Model, batch: Batch) -> Int[Tensor, " case"]:
    """What the model says instead of the correct answer; where it says that, its second choice."""
    first, second = last_logits(model, *batch.stems, {}).topk(2).indices.T
    return torch.where(first == batch.correct, second, first)


def _first(model: Model) -> int:
    """The first position that a cause may have: beginning-of-text is none."""
    return 0 if model.bos_id is None else 1


def _leave_out(model: Model, batch: Batch) -> Int[Tensor, " case"]:
    wrong, (tokens, lengths) = _wrong(model, batch), batch.stems
    places = torch.arange(tokens.shape[1])
    case, left = ((places < lengths[:, None]) & (places >= _first(model))).nonzero().T
    kept = places[None, :-1]
    shorter = tokens[case].gather(1, kept + (kept >= left[:, None]).long())
    logits, row = last_logits(model, shorter, lengths[case] - 1, {}), torch.arange(len(case))
    margins = torch.full(tokens.shape, float("inf"))
    margins[case, left] = logits[row, wrong[case]] - logits[row, batch.correct[case]]
    return margins.argmin(1)


def _input_gradient(model: Model, batch: Batch) -> Int[Tensor, " case"]:
    wrong, leaves = _wrong(model, batch), []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[0]

    tokens, lengths = batch.stems
    run = model.run(tokens.to(model.device), edits={"embed": leaf}, read=["final"], grad=True)
    row = torch.arange(len(batch))
    logits = model.unembed(run["final"][row, (lengths - 1).to(model.device)])
    # Cases do not touch each other: the gradient of the sum is each one's own.
    torch.autograd.backward((logits[row, wrong] - logits[row, batch.correct]).sum())
    gradient = leaves[0].grad
    if gradient is None:
        raise RuntimeError("no gradient reached the embeddings")
    push = (gradient * leaves[0].detach()).sum(-1).cpu()
    push[torch.arange(tokens.shape[1]) >= lengths[:, None]] = -float("inf")
    push[:, : _first(model)] = -float("inf")
    return push.argmax(1)


CAUSES: Mapping[str, Cause] = {
    "leave one token out": _leave_out,
    "input × gradient": _input_gradient,
}
"""Two plain ways to name the position that brings a wrong answer about, in each case."""


def _mean_out(model: Model, site: str, mean: Tensor, batch: Batch, cause: Cause) -> Share:
    return _edited(model, site, batch, cause(model, batch), lambda x: mean.to(x).expand_as(x))


@torch.no_grad()
def _edited(
    model: Model,
    site: str,
    batch: Batch,
    position: Int[Tensor, " case"],
    change: Callable[[Tensor], Tensor],
) -> Share:
    """Correct answers where `change` acts on one position of the site in each case."""

    def edit(x: Tensor) -> Tensor:
        row = torch.arange(len(x), device=x.device)
        x[row, position.to(x.device)] = change(x[row, position.to(x.device)])
        return x

    run = model.run(Inputs(batch.tokens.to(model.device)), edits={site: edit}, read=["final"])
    ends = zip(batch.starts.tolist(), batch.lengths.tolist(), strict=True)
    states = [run["final"][row, a - 1 : b] for row, (a, b) in enumerate(ends)]
    return judged(model, batch, [states])[0].share


def _direction(
    model: Model, site: str, selection: Batch, judged_on: Mapping[str, Batch]
) -> Baseline:
    head = model.unembedding().float()

    def share(batch: Batch, strength: float) -> Share:
        wrong = _wrong(model, batch).to(head.device)
        directions = head[wrong] - head[batch.correct.to(head.device)]
        directions = directions / directions.norm(dim=-1, keepdim=True)

        def turn(x: Tensor) -> Tensor:
            own = directions.to(x)
            turned: Tensor = x - strength * (x * own).sum(-1, keepdim=True) * own
            return turned

        return _edited(model, site, batch, batch.parts, turn)

    best = max(STRENGTHS, key=lambda strength: share(selection, strength).value)
    after = {name: share(batch, best) for name, batch in judged_on.items()}
    return Baseline(
        "the wrong answer's own direction", after, f"strength {best}, last token, {site}"
    )
