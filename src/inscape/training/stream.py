"""The interface of a source of activations for training; `ActivationStore` implements it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from inscape.activations import SiteStats
from inscape.core import InputError, short


class ActivationSource(Protocol):
    """Shuffled batches over one or more sites, reproducible from the seed at any start.

    `identity` states what the activations were made from; it is recorded with each dictionary.
    `part` of `batches`: the requested rows of each batch.
    """

    @property
    def identity(self) -> Mapping[str, Any]: ...

    def width(self, site: str) -> int: ...

    def site_stats(self, site: str) -> SiteStats: ...

    def batches(
        self,
        sites: Sequence[str],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        part: slice = ...,
    ) -> Iterator[dict[str, Tensor]]: ...


def check_source(source: object) -> None:
    """InputError unless training can draw batches from it."""
    if not all(callable(getattr(source, name, None)) for name in ("batches", "width")):
        raise InputError(
            f"activations from {short(source)}",
            expected="a tensor [tokens, width], one for each site, or an ActivationStore",
        )
