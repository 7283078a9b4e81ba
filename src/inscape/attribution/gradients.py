"""Gradients told as they come, at places inside one forward pass.

They are not kept: of a long prompt they would take as much memory as all neurons' activations. A
place is told once for each backward pass, the last of the pass first; not at all where the goal
does not depend on it. Blocks may be computed again while gradients pass them: edits are called
once more then, and what they marked first counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

Place = TypeVar("Place")


class Gradients(Generic[Place]):
    """What a forward pass with gradients marks, and its backward passes."""

    def __init__(self) -> None:
        self._embedding: Tensor | None = None
        self._told: set[Place] = set()
        self._take: Callable[[Place, Tensor], None] | None = None

    def leaf(self, x: Tensor) -> Tensor:
        """The edit of the embedding, where gradients end."""
        if self._embedding is None:
            self._embedding = x.detach().clone().requires_grad_(True)
        return self._embedding

    def tell(self, place: Place, x: Tensor) -> Tensor:
        """Marks a tensor of the pass, which is given back."""
        if place not in self._told and x.requires_grad:
            self._told.add(place)
            x.register_hook(partial(self._give, place))  # type: ignore[no-untyped-call]
        return x

    def _give(self, place: Place, gradient: Tensor) -> None:
        if self._take is not None:
            self._take(place, gradient)

    def close(self) -> None:
        """Lets go of the graph (see `Rows.close`)."""
        self._embedding = None

    def back(self, goal: Tensor, take: Callable[[Place, Tensor], None]) -> None:
        """Tells the gradient of a number at each place."""
        assert self._embedding is not None
        self._take = take
        try:
            torch.autograd.grad(goal, [self._embedding], retain_graph=True, allow_unused=True)
        finally:
            self._take = None  # it may hold this pass
