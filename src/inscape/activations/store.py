"""A finished store of activations: reads, statistics, and shuffled batches.

Shards are memory-mapped, so that opening a store costs no memory. Batches are drawn in O(batch)
from one seeded permutation per epoch over all tokens that count; batch n is the same wherever
drawing starts, which makes training resumable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.shards import COLUMNS, Shard, TokenTable, flag_counts, shard_name
from inscape.activations.statistics import Moments, SiteStats
from inscape.activations.tensors import batch_rows, check_batches
from inscape.core import DataError, InputError, SiteError, StorageError, instance_of, short
from inscape.model import Site
from inscape.storage import read_manifest, read_tensors

KIND = "activations"
VERSION = 1
STATS = "stats.safetensors"
_AGAIN = "run the same harvest again: it makes broken shards anew"
MEMORY = 2 << 30
"""Bytes up to which the sites of batches are held in memory, in bf16."""
_FIELDS = dict.fromkeys(("num_tokens", "num_bos", "num_sinks", "num_documents"), int) | {
    "sites": dict,
    "shards": list,
    "made_from.model_hash": str,
}


class ActivationStore:
    """Activations of one model over one corpus, read-only.

    Attributes:
        path: its folder. sites: names of its sites ("resid_post.2"). num_tokens: entries of the
            token table; num_kept: those that count. median_norms: by site, the reference norms for
            attention sinks. model_hash: of the model that made it. skipped: broken shards that are
            left out.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.sites: list[str] = list(manifest["sites"])
        self.num_tokens = int(manifest["num_tokens"])
        self.num_kept = self.num_tokens - manifest["num_bos"] - manifest["num_sinks"]
        self.num_documents = int(manifest["num_documents"])
        self.median_norms: dict[str, float] = dict(manifest.get("median_norms", {}))
        self.model_hash = str(manifest["made_from"]["model_hash"])
        self.skipped: list[str] = list(manifest["made_from"].get("skipped", []))
        names = sorted(name for name in manifest["files"] if name.startswith("shard-"))
        self._shards = [Shard(path / name) for name in names if name not in self.skipped]
        self._offsets = np.concatenate([[0], np.cumsum(manifest["shards"])]).astype(np.int64)

    @classmethod
    def open(
        cls, path: str | Path, *, verify: bool = False, skip_corrupt: bool = False
    ) -> ActivationStore:
        """Open the store in a folder.

        Args:
            verify: compare checksums too, once per file until it changes.
            skip_corrupt: leave out shards that are missing, half-written or differ from their
                checksum; `skipped` and the identity of every product name them.

        Raises:
            StorageError: not a store, an unfinished one, a newer version, or a shard is missing,
                half-written or corrupt (it is named).
        """
        instance_of((str, Path), path, "a store at", "a path")
        path = Path(path)
        if not skip_corrupt:
            return cls(
                path,
                read_manifest(path, KIND, VERSION, verify=verify, next_step=_AGAIN, fields=_FIELDS),
            )
        broken: list[str] = []
        manifest = read_manifest(path, KIND, VERSION, verify=True, broken=broken, fields=_FIELDS)
        return cls(path, _without(path, manifest, broken) if broken else manifest)

    @property
    def identity(self) -> dict[str, Any]:
        """What a product of this store is made from."""
        return {**self.manifest["made_from"], "num_tokens": self.num_tokens}

    def width(self, site: str | Site) -> int:
        """Width of the activations at a site."""
        return int(self.manifest["sites"][self._site(site)]["width"])

    def site_stats(self, site: str | Site) -> SiteStats:
        """Statistics of a site over the tokens that count."""
        name = self._site(site)
        record = self.manifest["sites"][name]
        if self.skipped:
            return merged(self._shards, [name])[name].finish()
        mean = read_tensors(self.path / STATS, [name])[name]
        return SiteStats(record["count"], mean, record["mean_norm"], record["variance"])

    def tokens(self) -> TokenTable:
        """The token table, read once."""
        return self._tokens

    def read(
        self,
        site: str | Site,
        rows: slice | Sequence[int] | NDArray[Any] = slice(None),
        *,
        dtype: type = np.float32,
    ) -> NDArray[Any]:
        """Activations [rows, width] of chosen tokens (indices into the token table)."""
        name = self._site(site)
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self.num_tokens))
        try:
            chosen = np.asarray(rows, np.int64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise InputError(f"tokens {short(rows)}", expected="their numbers") from error
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < self.num_tokens:
            raise InputError(f"tokens beyond the {self.num_tokens} of {self.path}")
        out: NDArray[Any] = np.empty((len(chosen), self.width(name)), dtype)
        shard_of = np.searchsorted(self._offsets, chosen, side="right") - 1
        for number in np.unique(shard_of):
            here = np.flatnonzero(shard_of == number)
            # Ascending order within the shard: one sequential scan of its pages.
            here = here[np.argsort(chosen[here], kind="stable")]
            data = self._shards[number].map(name)
            out[here] = data[chosen[here] - self._offsets[number]].astype(dtype)
        return out

    def batches(
        self,
        sites: Sequence[str | Site],
        batch_size: int,
        *,
        seed: int,
        epochs: int | None = None,
        start: int = 0,
        memory: int = MEMORY,
        part: slice = slice(None),
        only: NDArray[np.bool_] | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Shuffled fp32 batches over the tokens that count.

        Args:
            sites: a batch holds the same tokens at each of these sites.
            batch_size: rows per batch; batches may span epochs.
            seed: of the order.
            epochs: how often each token is seen (the last batch may be short); endless by default.
            start: number of the first batch, to resume after an interruption.
            memory: sites that fit into this many bytes in bf16 are held from the second batch on;
                others are read on demand.
            part: the requested rows of each batch; the others are not read.
            only: a mask that restricts the tokens that count.

        Raises:
            DataError: an activation is not finite: shard and row are named.
        """
        check_batches(sites, batch_size, seed=seed, epochs=epochs, start=start)
        names = [self._site(site) for site in sites]
        marked = self._tokens.kept if only is None else self._tokens.kept & only
        kept = np.flatnonzero(marked)
        if not len(kept):
            raise DataError(f"{self.path} has no token that counts", next_step="harvest more text")
        width = sum(self.width(name) for name in names)
        held: dict[str, Tensor] | None = None
        order = batch_rows(kept, batch_size, seed=seed, epochs=epochs, start=start)
        for number, rows in enumerate(order):
            if number == 1 and 2 * width * self.num_tokens <= memory:
                held = self._hold(names)
            yield self._batch(names, rows[part], held)

    def _batch(
        self, names: list[str], rows: NDArray[Any], held: dict[str, Tensor] | None
    ) -> dict[str, Tensor]:
        batch = {}
        for name in names:
            if held is None:
                values = torch.from_numpy(self.read(name, rows))
            else:
                values = held[name][torch.from_numpy(rows)].float()
            # A sum is finite only if every term is (barring overflow): one cheap pass.
            if not bool(torch.isfinite(values.sum())):
                self._refuse(name, rows, values)
            batch[name] = values
        return batch

    def _refuse(self, site: str, rows: NDArray[Any], values: Tensor) -> None:
        bad = (~torch.isfinite(values)).any(1).nonzero().flatten()
        if not len(bad):
            return
        token = int(rows[int(bad[0])])
        number = int(np.searchsorted(self._offsets, token, side="right")) - 1
        raise DataError(
            f"{self._shards[number].path} holds a NaN or infinity at {site}, "
            f"row {token - self._offsets[number]}",
            next_step="remove that shard and run the same harvest again",
        )

    def _hold(self, names: list[str]) -> dict[str, Tensor]:
        """Whole sites in memory, bf16."""
        held = {}
        for name in names:
            data = np.empty((self.num_tokens, self.width(name)), np.uint16)
            for number, shard in enumerate(self._shards):
                rows = slice(self._offsets[number], self._offsets[number + 1])
                data[rows] = shard.map(name).view(np.uint16)
            held[name] = torch.from_numpy(data).view(torch.bfloat16)
        return held

    @cached_property
    def _tokens(self) -> TokenTable:
        columns = [np.concatenate([s.map(name) for s in self._shards]) for name in COLUMNS]
        return TokenTable(*columns)

    def _site(self, site: str | Site) -> str:
        name = str(site)
        if name not in self.manifest["sites"]:
            raise SiteError(
                f"{self.path} holds no activations at {name}",
                expected=f"one of {', '.join(self.sites)}",
                next_step="harvest that site too",
            )
        return name


def merged(shards: Iterable[Shard], sites: Sequence[str]) -> dict[str, Moments]:
    """The moments of each site over all tokens that count."""
    totals: dict[str, Moments] = {}
    for shard in shards:
        figures = json.loads(shard.metadata["statistics"])
        for site in sites:
            part = Moments(
                figures["count"][site],
                np.array(shard.map(f"mean:{site}")),
                np.array(shard.map(f"m2:{site}")),
                figures["norms"][site],
            )
            totals[site] = totals[site].merge(part) if site in totals else part
    return totals


def _without(path: Path, manifest: dict[str, Any], broken: list[str]) -> dict[str, Any]:
    """The manifest of the same store without its broken shards."""
    names = [shard_name(n) for n in range(len(manifest["shards"]))]
    if others := set(broken) - set(names):
        raise StorageError(
            f"{path / sorted(others)[0]} is broken, and is no shard that could be left out",
            next_step="run the same harvest again",
        )
    left = [(n, size) for n, size in zip(names, manifest["shards"], strict=True) if n not in broken]
    if not left:
        raise StorageError(f"{path}: every shard is broken", next_step="run the same harvest again")
    flags = np.concatenate([Shard(path / name).map("flags") for name, _ in left])
    return {
        **manifest,
        "shards": [size for _, size in left],
        **flag_counts(flags),
        "made_from": {**manifest["made_from"], "skipped": broken},
    }
