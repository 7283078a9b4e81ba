"""Harvest: corpus -> model -> a store of activations on disk.

1. The corpus is tokenised and cut into rows, and rows are grouped into pools, one per shard.
2. The model reads a pool (reader.py); its forward pass stops at the last requested site.
3. Activations go into the shard in bf16, in corpus order. Tokens that do not count (beginning of
   text, attention sinks) are flagged, and statistics are taken over the others.
4. A shard is written atomically by a background thread while the model reads the next pool; the
   manifest comes last. A resumed harvest skips existing shards.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.corpus import Corpus, Pool, Text, row_length, site_names
from inscape.activations.reader import Reader
from inscape.activations.shards import COLUMNS, Shard, flag_counts, shard_name
from inscape.activations.statistics import Moments
from inscape.activations.store import KIND, STATS, VERSION, ActivationStore, merged
from inscape.activations.texts import token_columns
from inscape.core import DataError, InputError, StorageError, instance_of, progress, whole
from inscape.model import Model
from inscape.storage import (
    MANIFEST,
    clean_temporary,
    is_lock,
    lock,
    read_json,
    read_manifest,
    refuse_filled,
    write_json,
    write_manifest,
    write_tensors,
)

REQUEST = "harvest.json"


def harvest(
    model: Model,
    text: Text,
    sites: Sequence[str],
    out: Path,
    *,
    context: int | None = None,
    max_tokens: int | None = None,
    batch_tokens: int | None = None,
    shard_tokens: int = 65536,
) -> ActivationStore:
    """Read activations at `sites` over a corpus into a store at `out`.

    Args:
        model: the model to read.
        text: a path (see `documents`), texts, or documents as token ids.
        sites: where to read.
        out: the store's folder. A stopped harvest is resumed; a finished one is returned.
        context: tokens per row, the beginning-of-text token included; by default the model's
            context, at most 1024.
        max_tokens: stop after this many tokens (rows of the token table).
        batch_tokens: tokens per forward pass, padding included; by default 2,048 on a CPU and
            8,192 on a GPU.
        shard_tokens: a shard is closed once it holds this many.

    Raises:
        DataError: the corpus is empty, has one document only, or is unreadable; or an activation
            is not finite.
        InputError: no site, a context longer than the model's, or `out` holds another store.
        SiteError: a site is unknown.
        StorageError: the disk is full or too small, or another process is writing the store.
    """
    names = site_names(model, sites)
    instance_of((str, Path), out, "a store's folder", "a path")
    out = Path(out)
    for name, value in (("max_tokens", max_tokens), ("batch_tokens", batch_tokens)):
        _ = value is None or whole(value, name, 1)
    whole(shard_tokens, "shard_tokens", 1)
    width = row_length(model, context)
    corpus = Corpus(model, text)
    request = {
        "model": model.name,
        "model_hash": model.hash,
        "sites": names,
        "text": corpus.fingerprint(),
        "bos": model.bos,
        "context": width,
        "max_tokens": max_tokens,
        "shard_tokens": shard_tokens,
    }
    _check_request(out, request)
    broken: list[str] = []
    if (out / MANIFEST).is_file():
        read_manifest(out, KIND, VERSION, verify=True, broken=broken)
        if not broken:
            return ActivationStore.open(out)
    corpus.check(max_tokens)
    with lock(out):
        _check_request(out, request)
        write_json(out / REQUEST, request)
        writer = _Writer(Reader(model, names, batch_tokens), out, broken)
        try:
            expected = min(filter(None, (corpus.estimate(), max_tokens)), default=None)
            _check_room(out, expected or 0, 2 * sum(map(model.width, names)))
            with progress("harvest", expected, "tokens") as bar, writer:
                for number, pool in enumerate(corpus.pools(width, shard_tokens, max_tokens)):
                    writer.add(number, pool)
                    bar.advance(len(pool.ids))
            _finish(out, writer, request)
        except DataError:
            # The text has to change: a corrected one may reuse the shards that it shares.
            write_json(out / REQUEST, {**request, "text": None})
            raise
    return ActivationStore.open(out)


def _check_request(out: Path, request: dict[str, Any]) -> None:
    """Refuses a folder with a store made from something else, and names the difference."""
    refuse_filled(out, _is_store)
    if not (out / REQUEST).is_file():
        return
    found = read_json(out / REQUEST)
    if found.get("text", "") is None:  # its text was unusable, and may have been replaced
        request = {**request, "text": None}
    for key, wanted in request.items():
        if key == "model" or found.get(key) == wanted:
            continue
        what, shown = key, f" ({_shown(found.get(key))} there, {_shown(wanted)} asked for)"
        if key == "model_hash":
            what, shown = "model", f" ({found.get('model')} there, {request['model']} asked for)"
        if key == "text":
            shown = ""  # hashes of texts mean nothing to a reader
        raise InputError(
            f"{out} holds activations made with another {what}{shown}",
            next_step="choose another folder, or remove that one",
        )


def _is_store(out: Path) -> bool:
    """Whether a folder is a store, finished or not; other files in it are left alone."""
    if (out / REQUEST).is_file():
        found = read_json(out / REQUEST)
        return isinstance(found, dict) and {"model_hash", "sites"} <= set(found)
    return all(map(is_lock, out.iterdir()))


def _check_room(out: Path, num_tokens: int, token_bytes: int) -> None:
    """Refuses a harvest that does not fit on disk, before it starts."""
    needed = num_tokens * token_bytes
    there = sum(file.stat().st_size for file in out.glob("shard-*.safetensors"))
    free = shutil.disk_usage(out).free
    if needed > there + free:
        fits = int((there + free) * 0.8) // token_bytes
        raise StorageError(
            f"about {needed / 1e6:,.0f} MB of activations do not fit in the "
            f"{(there + free) / 1e6:,.0f} MB of free space of {out}",
            next_step=f"free some space and run the same command again, or ask for at most "
            f"{fits} tokens (--max-tokens) in another folder",
        )


def _shown(value: Any) -> str:
    if value is None:
        return "the default"
    return " ".join(value) if isinstance(value, list) else str(value)


class _Writer:
    """Turns pools into shards; as a context manager it waits for the last write on exit."""

    def __init__(self, reader: Reader, out: Path, broken: Sequence[str]) -> None:
        self.reader, self.out, self.broken = reader, out, broken
        self.shards: list[Path] = []
        self.num_documents = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shard")
        self._pending: Future[None] | None = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(wait=True)
        if self._pending is not None and error[0] is None:
            self._pending.result()

    def add(self, number: int, pool: Pool) -> None:
        """Make shard `number` from its pool, unless it exists already."""
        path = self.out / shard_name(number)
        self.shards.append(path)
        self.num_documents = int(pool.document[-1]) + 1
        if self._reuse(path, pool):
            return
        acts = self.reader.read(pool)
        arrays, metadata = self._arrays(pool, acts)
        if self._pending is not None:
            self._pending.result()  # one write at a time: memory holds two shards at most
        self._pending = self._thread.submit(write_tensors, path, arrays, metadata)

    def _reuse(self, path: Path, pool: Pool) -> bool:
        clean_temporary(path.parent, path.name)
        if not path.is_file() or path.name in self.broken:
            return False
        try:
            shard = Shard(path)
            pairs = zip(COLUMNS, token_columns(pool), strict=False)  # without flags
            same = all(np.array_equal(shard.map(name), column) for name, column in pairs)
            medians = json.loads(shard.metadata["statistics"])["median_norm"]
        except (StorageError, KeyError, ValueError):
            return False
        if not same or (self.reader.medians and medians != self.reader.medians):
            return False
        self.reader.medians = medians
        return True

    def _arrays(
        self, pool: Pool, acts: dict[str, Tensor]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        norms = self.reader.norms(acts)
        flags = self.reader.flags(pool, norms)
        arrays = dict(zip(COLUMNS, (*token_columns(pool), flags), strict=True))
        kept = torch.from_numpy(flags == 0)
        figures: dict[str, Any] = {"median_norm": self.reader.medians, "count": {}, "norms": {}}
        for site in self.reader.sites:
            values = acts[site]
            moments = Moments.of(values, kept, norms[site])
            arrays[f"mean:{site}"], arrays[f"m2:{site}"] = moments.mean, moments.m2
            figures["count"][site], figures["norms"][site] = moments.count, moments.norms
            arrays[site] = values.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return arrays, {"statistics": json.dumps(figures)}


def _finish(out: Path, writer: _Writer, request: dict[str, Any]) -> None:
    """Statistics and manifest over all shards; shards of an earlier, longer run are removed."""
    if writer.num_documents < 2:
        raise DataError(
            "the corpus holds fewer than two documents of at least one token",
            expected="several, so that what is learned on one part is judged on another",
            next_step="separate documents by blank lines, or give more text",
        )
    for stale in set(out.glob("shard-*.safetensors")) - set(writer.shards):
        stale.unlink()
    shards = [Shard(path) for path in writer.shards]
    totals = merged(shards, writer.reader.sites)
    stats = {site: moments.finish() for site, moments in totals.items()}
    write_tensors(out / STATS, {site: value.mean for site, value in stats.items()})
    extra = {
        **flag_counts(np.concatenate([shard.map("flags") for shard in shards])),
        "num_rows": int(shards[-1].map("row")[-1]) + 1,
        "precision": str(writer.reader.model.dtype).removeprefix("torch."),
        "median_norms": writer.reader.medians,
        "num_documents": writer.num_documents,
        "shards": [shard.num_tokens for shard in shards],
        "sites": {
            site: {
                "width": len(value.mean),
                "count": value.count,
                "mean_norm": value.mean_norm,
                "variance": value.variance,
            }
            for site, value in stats.items()
        },
    }
    files = [*writer.shards, out / STATS, out / REQUEST]
    write_manifest(out, KIND, VERSION, made_from=request, extra=extra, files=files)
