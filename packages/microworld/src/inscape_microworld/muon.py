"""Muon for the hidden matrices of a small model (Jordan et al. 2024), in float32.

torch.optim.Muon orthogonalises in bfloat16, which a CPU without it emulates at a fraction of the
speed; here the matrices of a shape go through float32 products together.

1. Momentum of the gradient, Nesterov's.
2. Five quintic Newton-Schulz steps bring its singular values near one.
3. Scaled by 0.2·√(larger side), an update is as large as AdamW's, so that both take rates of one
   kind (Liu et al. 2025, section 2.2). Weight decay is decoupled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_STEPS = 5


class Muon(torch.optim.Optimizer):
    """For matrices only; embeddings, heads and vectors go to AdamW."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes[tuple(matrix.shape)].append(matrix)
            for shape, matrices in shapes.items():
                updates = torch.stack([self._momentum(m, group["momentum"]) for m in matrices])
                scale = 0.2 * max(shape) ** 0.5
                for matrix, update in zip(matrices, orthogonal(updates), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update, alpha=-group["lr"] * scale)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        gradient = matrix.grad
        if gradient is None:
            raise RuntimeError("a matrix without a gradient")
        state = self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, state["momentum"], momentum)


def orthogonal(
    updates: Float[Tensor, "matrix rows columns"], num_steps: int = NUM_STEPS
) -> Float[Tensor, "matrix rows columns"]:
    """Each matrix with its singular values brought near one."""
    tall = updates.shape[1] > updates.shape[2]
    x = updates.mT if tall else updates
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(num_steps):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
