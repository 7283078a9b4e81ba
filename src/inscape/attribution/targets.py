"""The targets of a trace: the likeliest next tokens, one chosen token, or a difference of two.

A logit is measured less the mean logit of the vocabulary: softmax does not see a shift that all
logits share, so neither should the edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import ModelError
from inscape.model import Model

MAX_LOGITS = 10
LOGIT_SHARE = 0.95


@dataclass(frozen=True)
class Target:
    """A logit target: `vector` [d_model] is read off the final norm's output."""

    token: int
    against: int | None
    probability: float
    weight: float
    vector: Tensor


def choose(
    model: Model, logits: Float[Tensor, " vocab"], tokens: Sequence[int] = ()
) -> list[Target]:
    """The target of one token, or of the difference of two.

    Without `tokens`: the smallest set of tokens with cumulative probability 0.95, at most 10; none
    that the tokenizer lacks.

    Raises:
        ModelError: the logits are not finite.
    """
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"the logits of {model.name} are not finite",
            next_step="check the model's weights, or open it in float32",
        )
    probabilities = torch.softmax(logits.double(), -1)
    head = model.unembedding().float()
    if not tokens:
        named = probabilities * model.vocabulary_mask.to(probabilities.device)
        return _likeliest(head, named)
    token, against = tokens[0], tokens[1] if len(tokens) > 1 else None
    vector = head[token] - (head.mean(0) if against is None else head[against])
    return [Target(token, against, float(probabilities[token]), 1.0, vector)]


def _likeliest(head: Tensor, probabilities: Tensor) -> list[Target]:
    top = torch.topk(probabilities, min(MAX_LOGITS, len(probabilities)))
    before = torch.cumsum(top.values, 0) - top.values
    count = int((before < LOGIT_SHARE).sum())
    total = float(top.values[:count].sum())
    mean = head.mean(0)
    return [
        Target(int(i), None, float(p), float(p) / total, head[int(i)] - mean)
        for p, i in zip(top.values[:count], top.indices[:count], strict=True)
    ]
