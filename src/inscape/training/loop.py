"""Train a dictionary from a source of activations, start to end, or on from where it stopped.

1. Activations are scaled so that E||x|| = sqrt(width); the scale is folded into the weights at the
   end, and recorded.
2. Weights start as published (see `initial`); each step draws its batch by number.
3. While it runs, `<out>.partial` holds the checkpoint and the log. Ctrl-C finishes the step, writes
   a checkpoint and stops; after any end, however sudden, the same command goes on from the last
   checkpoint and comes to the same bits.
4. When it is done, `out` appears as a whole: dictionary.json, weights.safetensors, train.jsonl.
"""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inscape.core import DataError, Stopped, progress, seeded
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.storage import lock
from inscape.training.checkpoint import load_checkpoint, refuse_difference, save_checkpoint
from inscape.training.config import TrainConfig
from inscape.training.initial import initial_weights
from inscape.training.log import TrainingLog
from inscape.training.stream import ActivationSource
from inscape.training.topk import TopKTrainer

LOG = "train.jsonl"
_SAMPLE = 8192


def train(
    store: ActivationSource,
    site_in: str,
    site_out: str,
    out: Path,
    config: TrainConfig,
    *,
    name: str,
) -> Dictionary:
    """Train a TopK dictionary and save it at `out`; a finished one is returned.

    Args:
        store: where batches come from (an `ActivationStore`).
        site_in, site_out: equal for an autoencoder; another `site_out` makes a transcoder.
        out: the dictionary's folder; its parents are made.
        config: size, length and rates.
        name: the dictionary's name, as in `name/feature`.

    Raises:
        InputError: `out`, or the checkpoint of a stopped run, was made with other settings.
        DataError: an activation, or the loss, is not finite.
        Stopped: Ctrl-C; the same call goes on.
        StorageError: the disk is full; the last checkpoint stays.
    """
    out = Path(out)
    shape = _shape(store, site_in, site_out, config)
    made_from = _request(store, shape, config)
    if (out / "dictionary.json").is_file():
        done = Dictionary.open(out)
        found = {key: done.made_from.get(key) for key in made_from}
        refuse_difference(found, made_from, out)
        return done
    partial = out.with_name(out.name + ".partial")
    with lock(partial):
        dictionary = _run(store, shape, config, partial, made_from, name)
        dictionary.save(out, extra_files={LOG: partial / LOG})
    shutil.rmtree(partial, ignore_errors=True)
    return dictionary


def _shape(
    store: ActivationSource, site_in: str, site_out: str, config: TrainConfig
) -> DictionaryConfig:
    return DictionaryConfig(
        site_in=site_in,
        site_out=site_out,
        d_in=store.width(site_in),
        d_out=store.width(site_out),
        d_dict=config.d_dict,
        k=config.k,
        subtract_b_dec=site_in == site_out,
    )


def _request(
    store: ActivationSource, shape: DictionaryConfig, config: TrainConfig
) -> dict[str, Any]:
    """What decides the result; how often checkpoints and log lines are written does not."""
    settings = config.model_dump(exclude={"checkpoint_seconds", "log_every"})
    return {
        "activations": dict(store.identity),
        "sites": [shape.site_in, shape.site_out],
        "training": {**settings, "lr": config.peak_lr, "dead_tokens": config.dead_window},
    }


def _scale(store: ActivationSource, site: str) -> float:
    norm = store.site_stats(site).mean_norm
    if not (math.isfinite(norm) and norm > 0):
        raise DataError(
            f"the activations at {site} have mean norm {norm}",
            expected="a positive number",
            next_step="harvest a site that is not constant zero",
        )
    return math.sqrt(store.width(site)) / norm


def _run(
    store: ActivationSource,
    shape: DictionaryConfig,
    config: TrainConfig,
    partial: Path,
    made_from: dict[str, Any],
    name: str,
) -> Dictionary:
    scales = _scale(store, shape.site_in), _scale(store, shape.site_out)
    trainer = TopKTrainer(shape, config, _initial(store, shape, config, scales))
    log_bytes = load_checkpoint(partial, trainer, made_from)
    log = TrainingLog(partial / LOG, log_bytes, config)
    loop = _Loop(trainer, config, partial, made_from, log)
    batches = _scaled(store, shape, config, scales, start=trainer.num_steps)
    loop.run(batches, f"train {name}")
    return Dictionary(
        shape,
        _fold(trainer.weights, shape, *scales),
        name=name,
        input_scale=scales[0],
        output_scale=scales[1],
        made_from={**made_from, "figures": log.last},
    )


def _initial(
    store: ActivationSource,
    shape: DictionaryConfig,
    config: TrainConfig,
    scales: tuple[float, float],
) -> dict[str, Tensor]:
    seed = seeded(config.seed, "sample")
    stream = store.batches([shape.site_in], _SAMPLE, seed=seed, epochs=1, memory=0)
    mean = torch.from_numpy(store.site_stats(shape.site_out).mean * scales[1])
    return initial_weights(
        shape,
        sample=next(stream)[shape.site_in] * scales[0],
        target_mean=mean,
        seed=config.seed,
    )


def _scaled(
    store: ActivationSource,
    shape: DictionaryConfig,
    config: TrainConfig,
    scales: tuple[float, float],
    *,
    start: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    sites = list(dict.fromkeys((shape.site_in, shape.site_out)))
    seed = seeded(config.seed, "data")
    for batch in store.batches(sites, config.batch_size, seed=seed, start=start):
        x = batch[shape.site_in].mul_(scales[0])
        y = batch[shape.site_out].mul_(scales[1]) if shape.transcoder else x
        yield x, y


def _fold(
    weights: dict[str, Tensor], shape: DictionaryConfig, scale_in: float, scale_out: float
) -> dict[str, Tensor]:
    """Weights that act on activations as the model has them.

    An autoencoder keeps its unit decoder rows: its values take the scale instead, so that they are
    in units of the activations. A transcoder keeps its values, and its maps take the scales.
    """
    W_enc, b_enc, W_dec, b_dec = (weights[key] for key in ("W_enc", "b_enc", "W_dec", "b_dec"))
    if shape.subtract_b_dec:
        b_enc = b_enc / scale_in
    else:
        W_enc, W_dec = W_enc * scale_in, W_dec / scale_out
    return {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec / scale_out}


class _Loop:
    """Steps, log lines and checkpoints."""

    def __init__(
        self,
        trainer: TopKTrainer,
        config: TrainConfig,
        partial: Path,
        made_from: dict[str, Any],
        log: TrainingLog,
    ) -> None:
        self.trainer, self.config, self.partial = trainer, config, partial
        self.made_from, self.log = made_from, log

    def run(self, batches: Iterator[tuple[Tensor, Tensor]], title: str) -> None:
        """Train to the end of the run."""
        trainer, config = self.trainer, self.config
        saved = time.monotonic()
        remaining = config.num_steps - trainer.num_steps
        with (
            _interruptible() as interrupted,
            progress(title, remaining * config.batch_size, "tokens") as bar,
        ):
            while trainer.num_steps < config.num_steps:
                metrics = trainer.step(*next(batches))
                self.log.add(trainer, metrics)
                bar.advance(config.batch_size, fvu=metrics.fvu)
                if interrupted.is_set():
                    self._save()
                    raise Stopped(
                        f"training stopped after step {trainer.num_steps} of {config.num_steps}",
                        next_step="run the same command again: it goes on from there",
                    )
                if time.monotonic() - saved >= config.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()

    def _save(self) -> None:
        log_bytes = self.log.size()
        save_checkpoint(self.partial, self.trainer, self.made_from, log_bytes=log_bytes)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets; the second one ends at once.

    Outside the main thread, where signals cannot be handled, the event is never set.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if event.is_set():  # a stop that came after the last step's look at the event is not lost
        raise KeyboardInterrupt
