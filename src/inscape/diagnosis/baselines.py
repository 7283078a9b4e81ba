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
from inscape.diagnosis.cases import Batch, Case, encode
from inscape.model import Model

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
Cause = Callable[[Model, Batch, int], int]


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
    found = []
    for name, cause in CAUSES.items():
        after = {k: _mean_out(model, site, mean, cases, cause) for k, cases in judged_on.items()}
        found.append(Baseline(name, after, f"mean of {site} at the token found"))
    found.append(_direction(model, site, selection, judged_on))
    return found


def _margins(model: Model, tokens: Int[Tensor, "row pos"], wrong: int, right: int) -> Tensor:
    logits = model.run(tokens.to(model.device), logits="last").logits
    if logits is None:
        raise RuntimeError("a run with logits returned none")
    return (logits[:, -1, wrong] - logits[:, -1, right]).cpu()


def _sides(model: Model, batch: Batch, case: int) -> tuple[Tensor, int, int, int]:
    tokens = batch.tokens[case, : int(batch.lengths[case])]
    logits = model.run(tokens[None].to(model.device), logits="last").logits
    if logits is None:
        raise RuntimeError("a run with logits returned none")
    right = int(batch.right[case])
    order = logits[0, -1].topk(2).indices.tolist()
    # On a prompt that is answered rightly the rival is the second choice.
    wrong = order[0] if order[0] != right else order[1]
    return tokens, int(wrong), right, 0 if model.bos_id is None else 1


def _leave_out(model: Model, batch: Batch, case: int) -> int:
    tokens, wrong, right, first = _sides(model, batch, case)
    rows = [torch.cat([tokens[:p], tokens[p + 1 :]]) for p in range(first, len(tokens))]
    return first + int(_margins(model, torch.stack(rows), wrong, right).argmin())


def _input_gradient(model: Model, batch: Batch, case: int) -> int:
    tokens, wrong, right, first = _sides(model, batch, case)
    leaves: list[Tensor] = []

    def leaf(x: Tensor) -> Tensor:
        leaves.append(x.detach().requires_grad_())
        return leaves[0]

    run = model.run(tokens[None].to(model.device), edits={"embed": leaf}, logits="last", grad=True)
    if run.logits is None:
        raise RuntimeError("a run with logits returned none")
    torch.autograd.backward(run.logits[0, -1, wrong] - run.logits[0, -1, right])
    gradient = leaves[0].grad
    if gradient is None:
        raise RuntimeError("no gradient reached the embeddings")
    return first + int((gradient * leaves[0].detach())[0, first:].sum(-1).argmax())


CAUSES: Mapping[str, Cause] = {
    "leave one token out": _leave_out,
    "input × gradient": _input_gradient,
}
"""Two plain ways to name the position that brings a wrong answer about."""


def _mean_out(model: Model, site: str, mean: Tensor, cases: Sequence[Case], cause: Cause) -> Share:
    batch = encode(model, cases)
    count = 0
    for case in range(len(batch)):
        position = cause(model, batch, case)

        def replace(x: Tensor, position: int = position) -> Tensor:
            x[:, position] = mean.to(x)
            return x

        tokens = batch.tokens[case : case + 1, : int(batch.lengths[case])].to(model.device)
        logits = model.run(tokens, edits={site: replace}, logits="last").logits
        count += logits is not None and int(logits[0, -1].argmax()) == int(batch.right[case])
    return Share(count, len(batch))


def _direction(
    model: Model, site: str, selection: Sequence[Case], judged_on: Mapping[str, Sequence[Case]]
) -> Baseline:
    batch = encode(model, selection)
    _, wrong, right, _ = _sides(model, batch, 0)
    head = model.unembedding().float()
    direction = head[wrong] - head[right]
    direction = direction / direction.norm()

    def share(cases: Sequence[Case], strength: float) -> Share:
        part = encode(model, cases)
        count = 0
        for case in range(len(part)):
            tokens = part.tokens[case : case + 1, : int(part.lengths[case])].to(model.device)

            def turn(x: Tensor) -> Tensor:
                x[:, -1] -= strength * (x[:, -1] @ direction.to(x))[:, None] * direction.to(x)
                return x

            logits = model.run(tokens, edits={site: turn}, logits="last").logits
            count += logits is not None and int(logits[0, -1].argmax()) == int(part.right[case])
        return Share(count, len(part))

    best = max(STRENGTHS, key=lambda strength: share(selection, strength).value)
    after = {name: share(cases, best) for name, cases in judged_on.items()}
    return Baseline(
        "the wrong answer's own direction", after, f"strength {best}, last token, {site}"
    )
