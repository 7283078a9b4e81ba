"""A source of activations in memory, for training without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class Stats:
    mean: NDArray[Any]
    mean_norm: float
    variance: float


@dataclass
class Source:
    """Batches by number from arrays; `on_batch(n)` is called before batch n is given out."""

    data: dict[str, Tensor]
    on_batch: Callable[[int], None] | None = None
    identity: dict[str, Any] = field(default_factory=lambda: {"made": "here"})

    def width(self, site: str) -> int:
        return self.data[site].shape[1]

    def site_stats(self, site: str) -> Stats:
        x = self.data[site].double()
        spread = (x - x.mean(0)).square().sum(1).mean()
        return Stats(x.mean(0).numpy(), float(x.norm(dim=1).mean()), float(spread))

    def batches(
        self,
        sites: Sequence[str],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        memory: int = 0,
        part: slice = slice(None),
    ) -> Iterator[dict[str, Tensor]]:
        number = start
        rows = len(next(iter(self.data.values())))
        while True:
            if self.on_batch is not None and epochs is None:
                self.on_batch(number)
            generator = torch.Generator().manual_seed((seed + number) % 2**62)
            chosen = torch.randint(rows, (batch_size,), generator=generator)[part]
            yield {site: self.data[site][chosen] for site in sites}
            number += 1


def sparse_world(seed: int = 0, rows: int = 4000, width: int = 16) -> dict[str, Tensor]:
    """Sums of a few of 32 directions with an offset, and a nonlinear map of them."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn((32, width), generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    active = torch.rand((rows, 32), generator=generator) < 0.08
    amounts = active * (1 + torch.rand((rows, 32), generator=generator))
    x = 3.0 * (amounts @ directions) + 2.0
    y = torch.relu(x @ torch.randn((width, width), generator=generator)) * 0.1 + 1.0
    return {"resid_post.1": x, "mlp_in.1": x, "mlp_out.1": y}
