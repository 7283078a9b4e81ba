"""What training needs of a source of activations; `ActivationStore` is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@runtime_checkable
class Statistics(Protocol):
    """Statistics of one site: mean [width], E||x||, and E||x - mean||^2."""

    @property
    def mean(self) -> NDArray[np.float64]: ...

    @property
    def mean_norm(self) -> float: ...

    @property
    def variance(self) -> float: ...


@runtime_checkable
class ActivationSource(Protocol):
    """Shuffled batches over one or more sites, the same for the same seed from any start.

    `identity` says what the activations were made from; it is recorded with what is trained.
    `part` of `batches`: the rows of each batch that are wanted.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def width(self, site: str) -> int: ...

    def site_stats(self, site: str) -> Statistics: ...

    def batches(
        self,
        sites: Sequence[str],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        memory: int = 0,
        part: slice = ...,
    ) -> Iterator[dict[str, Tensor]]: ...
