"""One pass over a text: harvest against transformers, and many dictionaries on one forward pass.

1. `real-harvest`: SmolLM2 to its middle layer, by `harvest` with all that it does (tokens, flags,
   statistics, the store on disk) and by transformers in bf16 that stops there by a hook, on the
   same rows, in turn. A figure is the median over rounds.
2. `real-onepass`: all MLPs' transcoders and the middle dictionary trained from a text. From time to
   time its clock is stopped, and as many tokens are read by the forward pass alone, and as many
   steps taken by the trainers alone, on activations that are in memory.
"""

from __future__ import annotations

import gzip
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.measurement import Absent, Measurement, Run
from benchmarks.turns import ratio
from inscape.activations import OnlineActivations, TensorActivations, harvest
from inscape.activations.corpus import Corpus, Pool
from inscape.activations.reader import Reader, reading_copy
from inscape.core import keep_freed_memory
from inscape.model import Model
from inscape.training import Job, TrainConfig, Trainer, dictionary_shape, train_from_text
from inscape.training import from_text as training
from inscape.training.view import View
from inscape_microworld.benchmark import Check, Row

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "corpus" / "train-00.jsonl.gz"
CONTEXT, HARVESTED, ROUNDS = 512, 16384, 5
FEATURES, STEPS, EVERY, BATCH, MEMORY = 4608, 96, 24, 1024, 10**9


def _texts(count: int, start: int = 0) -> list[str]:
    if not CORPUS.is_file():
        raise Absent(f"{CORPUS} is not there", expected="the data that lies beside the checkout")
    with gzip.open(CORPUS) as lines:
        return [json.loads(line)["text"] for line in itertools.islice(lines, start, start + count)]


class _Stop(Exception):
    """The last layer that is wanted is reached."""


def _plain(model: Model, pools: list[Pool], layer: int, batch_tokens: int) -> None:
    """transformers alone: the forward pass of all rows up to the end of a layer."""

    def stop(*given: Any) -> None:
        raise _Stop

    inner: Any = model.module
    hook = inner.model.layers[layer].register_forward_hook(stop)
    reader = Reader(model, [f"resid_post.{layer}"], batch_tokens)
    with torch.no_grad():
        for pool in pools:
            for rows in reader.passes(pool):
                tokens = torch.zeros((len(rows), int(pool.lengths[rows].max())), dtype=torch.long)
                for number, row in enumerate(rows):
                    start, length = int(pool.starts[row]), int(pool.lengths[row])
                    ids = pool.ids[start : start + length]
                    tokens[number, :length] = torch.from_numpy(ids).long()
                try:
                    inner(input_ids=tokens, use_cache=False)
                except _Stop:
                    continue
    hook.remove()


def harvested(run: Run) -> Row:
    """Tokens per second of a whole harvest over those of the plain forward pass."""
    keep_freed_memory()
    model = Model.open("smollm2", device="cpu")
    low = reading_copy(model)
    layer = (model.num_layers - 1) // 2
    found: dict[str, list[float]] = {"inscape": [], "transformers": []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(1 + ROUNDS):
            texts, out = _texts(100, 100 * number), Path(place) / "store"
            limits = CONTEXT, HARVESTED
            pools = list(Corpus(model, texts).pools(limits[0], 65536, limits[1]))
            began = time.perf_counter()
            harvest(
                model, texts, [f"resid_post.{layer}"], out, context=CONTEXT, max_tokens=HARVESTED
            )
            ended = time.perf_counter()
            _plain(low, pools, layer, Reader(low, []).batch_tokens)
            if number:
                found["inscape"].append(ended - began)
                found["transformers"].append(time.perf_counter() - ended)
            shutil.rmtree(out)
    ours, theirs = (np.array(found[name]) for name in ("inscape", "transformers"))
    figure, interval = ratio(theirs, ours, run.seed)
    return Row(
        "real-harvest",
        "harvest of SmolLM2 to its middle layer, tokens per second",
        (
            Check("inscape / transformers with early stop", figure, "≥ 0.95", interval),
            Check("inscape, tokens per second", HARVESTED / float(np.median(ours)), ""),
        ),
        samples=f"{HARVESTED} tokens in rows of at most {CONTEXT}, {low.dtype}; {ROUNDS} rounds "
        f"after 1; {torch.get_num_threads()} threads",
        seed=run.seed,
    )


class _Alone:
    """The forward pass and the steps by themselves, and how long they have taken."""

    def __init__(self, model: Model, jobs: list[Job], pool: Pool) -> None:
        self.model, self.pool = reading_copy(model), pool
        self.forward = self.steps = self.paused = 0.0
        sites = list(dict.fromkeys(s for job in jobs for s in (job.site_in, job.site_out)))
        reader = Reader(self.model, sites)
        source = TensorActivations(reader.read(pool))
        scratch: dict[Any, Any] = {}
        self.trainers = []
        for job in jobs:
            shape = dictionary_shape(source, job.site_in, job.site_out, job.config)
            view = View(source, shape, job.config)
            self.trainers.append(
                (view, Trainer(shape, job.config, view.initial(), scratch=scratch))
            )
        self.batches = source.batches(sites, BATCH, seed=0)

    def take(self, steps: int) -> None:
        """As many tokens and steps as that."""
        began = time.perf_counter()
        last, size = self.model.num_layers - 1, Reader(self.model, []).batch_tokens
        _plain(self.model, [self.pool], last, size)
        ended = time.perf_counter()
        self.forward += (ended - began) * steps * BATCH / len(self.pool.ids)
        for _ in range(steps):
            batch = next(self.batches)
            pairs = [view.pair(batch) for view, _ in self.trainers]
            start = time.perf_counter()
            for (_, trainer), (x, y) in zip(self.trainers, pairs, strict=True):
                trainer.step(x, y)
            self.steps += time.perf_counter() - start
        self.paused += time.perf_counter() - began


def one_pass(run: Run) -> Row:
    """Time of the whole against the parts alone, and the most that lay on the disk."""
    keep_freed_memory()
    model = Model.open("smollm2", device="cpu")
    layer = (model.num_layers - 1) // 2
    config = TrainConfig(d_dict=FEATURES, k=64, tokens=STEPS * BATCH, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as place:
        site, folder = f"resid_post.{layer}", Path(place)
        wide = config.model_copy(update={"d_dict": 2 * FEATURES})
        jobs = [Job(site, site, folder / site, wide, site)]
        for number in range(model.num_layers):
            name = f"mlp.{number}"
            pair = f"mlp_in.{number}", f"mlp_out.{number}"
            jobs.append(Job(*pair, folder / name, config, name))
        texts = _texts(2000)
        (pool,) = Corpus(model, texts).pools(CONTEXT, 10**9, 4096)
        alone = _Alone(model, jobs, pool)

        class Watched(OnlineActivations):
            def batches(self, *given: Any, **named: Any) -> Iterator[dict[str, torch.Tensor]]:
                for number, batch in enumerate(super().batches(*given, **named)):
                    if number and number % EVERY == 0 and "epochs" not in named:
                        alone.take(EVERY)
                    yield batch

        disk = _Disk(folder)
        began = time.perf_counter()
        with mock.patch.object(training, "OnlineActivations", Watched), disk:
            train_from_text(model, texts, jobs, context=CONTEXT, memory=MEMORY)
        whole = time.perf_counter() - began - alone.paused
        parts = (alone.forward + alone.steps) * STEPS / (STEPS - EVERY)
    tokens = STEPS * BATCH
    return Row(
        "real-onepass",
        f"{model.num_layers} transcoders and a dictionary of SmolLM2 on one pass over a text",
        (
            Check("time, whole / forward pass and steps alone", whole / parts, "≤ 1.15"),
            Check("GB on disk at most", disk.most / 1e9, "≤ 2"),
            Check("tokens per second", tokens / whole, ""),
        ),
        samples=f"{tokens} tokens, {FEATURES} features of each transcoder, {2 * FEATURES} of the "
        f"dictionary; beginning and end included; {torch.get_num_threads()} threads",
        seed=run.seed,
    )


class _Disk(threading.Thread):
    """The most bytes that lie in a folder while it is entered."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.most, self._over = folder, 0, threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.2):
            size = 0
            for path in self.folder.rglob("*"):
                try:
                    size += path.stat().st_size if path.is_file() else 0
                except OSError:  # it has gone meanwhile
                    continue
            self.most = max(self.most, size)


FIGURES = {"real-harvest": Measurement(harvested), "real-onepass": Measurement(one_pass)}
