"""Stores of the same text from several models, aligned token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from inscape.activations.statistics import SiteStats
from inscape.activations.store import MEMORY, ActivationStore
from inscape.activations.tensors import check_batches
from inscape.core import InputError, SiteError, instance_of


class JoinedStores:
    """Several stores as one source for training, as for a crosscoder between models.

    A site is prefixed with the name of its store, as in chat:resid_post.3. A token counts if it
    counts in every store (models have attention sinks at different tokens).

    Args:
        stores: by name, of the same text with the same tokens.

    Attributes:
        sites: those of all stores.

    Raises:
        InputError: fewer than two, a name with ":" or "+", or stores of different tokens.
    """

    def __init__(self, stores: Mapping[str, ActivationStore]) -> None:
        instance_of(Mapping, stores, "stores to join:", "stores by name")
        self.stores = dict(stores)
        for store in self.stores.values():
            instance_of(ActivationStore, store, "a store to join:", "an ActivationStore")
        if len(self.stores) < 2:
            raise InputError(f"{len(self.stores)} stores to join", expected="two or more")
        for name in self.stores:
            if not name or set(name) & set(":+"):
                raise InputError(f"a store called {name!r}", expected="a name without : and +")
        (first, table), *others = ((name, s.tokens()) for name, s in self.stores.items())
        self._only = np.asarray(table.kept, np.bool_)
        for name, other in others:
            same = len(other.ids) == len(table.ids) and bool(np.all(other.ids == table.ids))
            if not (same and bool(np.all(other.position == table.position))):
                raise InputError(
                    f"the stores {first} and {name} hold different tokens",
                    expected="the same text, tokenised alike, in rows of the same length",
                    next_step="harvest both with the same --text, --context and --max-tokens",
                )
            self._only = self._only & other.kept
        self.sites = [f"{name}:{s}" for name, store in self.stores.items() for s in store.sites]

    @property
    def identity(self) -> dict[str, Any]:
        """What a product of these activations is made from: all stores."""
        return {name: store.identity for name, store in self.stores.items()}

    def width(self, site: str) -> int:
        """Width of the activations at a site."""
        store, own = self._of(site)
        return store.width(own)

    def site_stats(self, site: str) -> SiteStats:
        """Statistics of a site over the tokens that count in its store."""
        store, own = self._of(site)
        return store.site_stats(own)

    def batches(
        self,
        sites: Sequence[str],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        part: slice = slice(None),
    ) -> Iterator[dict[str, Tensor]]:
        """As `ActivationStore.batches`; the activations of one batch are of the same tokens."""
        check_batches(sites, batch_size, seed=seed, epochs=epochs, start=start)
        streams = []
        for name, store in self.stores.items():
            own = [site.partition(":")[2] for site in sites if self._of(site)[0] is store]
            if own:
                stream = store.batches(
                    own,
                    batch_size,
                    seed=seed,
                    epochs=epochs,
                    start=start,
                    memory=MEMORY // len(self.stores),
                    only=self._only,
                    part=part,
                )
                streams.append((name, stream))
        for parts in zip(*(stream for _, stream in streams), strict=True):
            named = zip(streams, parts, strict=True)
            yield {f"{name}:{site}": x for (name, _), part in named for site, x in part.items()}

    def _of(self, site: str) -> tuple[ActivationStore, str]:
        name, colon, own = site.partition(":")
        if not colon or name not in self.stores:
            raise SiteError(
                f"site {site!r} is of none of the stores",
                expected=f"one of {', '.join(self.sites)}",
            )
        return self.stores[name], own
