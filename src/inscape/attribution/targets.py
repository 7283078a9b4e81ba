"""The targets of a trace: the likeliest next tokens, one chosen token, or a difference of two.

A logit is measured less the mean logit of the vocabulary: softmax does not see a shift that all
logits share, so neither should the edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import InputError
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
    model: Model, logits: Float[Tensor, " vocab"], target: str | None, against: str | None
) -> tuple[list[Target], list[str]]:
    """Targets, and notes on which token stands for a candidate of several.

    Without `target`: the smallest set of tokens with cumulative probability 0.95, at most 10; none
    that the tokenizer lacks.
    """
    probabilities = torch.softmax(logits.double(), -1)
    head = model.unembedding().float()
    if target is None:
        if against is not None:
            raise InputError(
                f"against {against!r} was given without a target",
                expected="both candidates of a difference",
                next_step="give the target too",
            )
        named = probabilities * model.vocabulary_mask.to(probabilities.device)
        return _likeliest(head, named), []
    notes: list[str] = []
    token = _first_token(model, target, notes)
    probability = float(probabilities[token])
    if against is None:
        vector = head[token] - head.mean(0)
        return [Target(token, None, probability, 1.0, vector)], notes
    rival = _first_token(model, against, notes)
    if rival == token:
        raise InputError(
            f"{target!r} and {against!r} begin with the same token {token_text(model, token)!r}",
            expected="two candidates that differ in their first token",
            next_step="extend the prompt up to where they part",
        )
    return [Target(token, rival, probability, 1.0, head[token] - head[rival])], notes


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


def _first_token(model: Model, text: str, notes: list[str]) -> int:
    token, has_more = model.answer_token(text)
    if has_more:
        notes.append(f"of {text!r} only the first token {token_text(model, token)!r} is used")
    return int(token)


def token_text(model: Model, token: int) -> str:
    """The token's text; its number in angle brackets for a model without a tokenizer."""
    return f"<{token}>" if model.tokenizer is None else model.token_text(token)
