"""Activations already in memory as a source for training; and the order of batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.statistics import Moments, SiteStats, row_norms
from inscape.core import DataError, InputError, SiteError, instance_of, seeded, short, whole
from inscape.model import Site

DEFAULT_SITE = "resid_post.0"


class TensorActivations:
    """Activations [tokens, width] as a source for training.

    Args:
        data: one tensor (its site is named resid_post.0), or one per site, of the same tokens.

    Raises:
        InputError: a tensor is not [tokens, width], or their numbers of tokens differ.
        DataError: a value is not finite.
    """

    def __init__(self, data: Tensor | Mapping[str, Tensor]) -> None:
        expected = "a tensor [tokens, width], or one for each site"
        instance_of((Tensor, Mapping), data, "activations", expected)
        self.data = {DEFAULT_SITE: data} if isinstance(data, Tensor) else dict(data)
        for site, x in self.data.items():
            instance_of(Tensor, x, f"activations at {site}:", expected)
        self.sites = list(self.data)
        shapes = {site: tuple(x.shape) for site, x in self.data.items()}
        sizes = {shape[:1] for shape in shapes.values()}
        if len(sizes) != 1 or any(len(s) != 2 or 0 in s for s in shapes.values()):
            raise InputError(
                f"activations of shape {', '.join(map(str, shapes.values())) or 'none'}",
                expected="[tokens, width], as many tokens for every site",
            )
        (self.num_tokens,) = sizes.pop()
        for site, x in self.data.items():
            if not bool(torch.isfinite(x).all()):
                raise DataError(f"the activations at {site} hold a NaN or infinity")

    @cached_property
    def identity(self) -> dict[str, Any]:
        """A hash of the values."""
        digest = hashlib.sha256()
        for site, x in self.data.items():
            digest.update(f"{site} {tuple(x.shape)} {x.dtype}\0".encode())
            digest.update(x.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return {"source": "tensors", "sha256": digest.hexdigest()}

    def width(self, site: str | Site) -> int:
        """Width of the activations at a site."""
        return self._at(site).shape[1]

    def site_stats(self, site: str | Site) -> SiteStats:
        """Statistics of a site over all tokens."""
        x = self._at(site)
        return Moments.of(x, torch.ones(len(x), dtype=torch.bool), row_norms(x)).finish()

    def batches(
        self,
        sites: Sequence[str | Site],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        part: slice = slice(None),
    ) -> Iterator[dict[str, Tensor]]:
        """As `ActivationStore.batches`."""
        check_batches(sites, batch_size, seed=seed, epochs=epochs, start=start)
        data = {str(site): self._at(site) for site in sites}
        every = np.arange(self.num_tokens)
        for rows in batch_rows(every, batch_size, seed=seed, epochs=epochs, start=start):
            chosen = torch.from_numpy(rows[part])
            yield {site: x[chosen.to(x.device)].float() for site, x in data.items()}

    def _at(self, site: str | Site) -> Tensor:
        if str(site) not in self.data:
            raise SiteError(
                f"no activations at {site} are given", expected=f"one of {', '.join(self.sites)}"
            )
        return self.data[str(site)]


def check_batches(
    sites: Sequence[str | Site], batch_size: int, *, seed: int, epochs: int | None, start: int
) -> None:
    """InputError unless these are arguments for the batches of a source."""
    expected = "a list of at least one, such as resid_post.2"
    if isinstance(sites, str) or not isinstance(sites, Sequence) or not sites:
        raise InputError(f"batches of the sites {short(sites)}", expected=expected)
    whole(batch_size, "batches of", 1)
    whole(seed, "seed")
    whole(start, "a first batch of number", 0)
    if epochs is not None:
        whole(epochs, "epochs:", 0)


def batch_rows(
    kept: NDArray[Any], batch_size: int, *, seed: int, epochs: int | None, start: int
) -> Iterator[NDArray[Any]]:
    """The rows of batch `start` and all later ones: one seeded permutation of `kept` per epoch;
    batches may span epochs, and are endless if `epochs` is None."""
    total = None if epochs is None else epochs * len(kept)
    place = start * batch_size
    epoch, order = -1, kept
    while total is None or place < total:
        end = place + batch_size if total is None else min(place + batch_size, total)
        parts = []
        while place < end:
            if place // len(kept) != epoch:
                epoch = place // len(kept)
                generator = np.random.default_rng(seeded(seed, "batches", epoch))
                order = kept[generator.permutation(len(kept))]
            first = place % len(kept)
            parts.append(order[first : first + end - place])
            place += len(parts[-1])
        yield np.concatenate(parts)
