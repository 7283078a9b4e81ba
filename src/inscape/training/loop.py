"""Train a dictionary from a source of activations, start to end, or on from where it stopped.

1. Activations are scaled so that E||x|| = sqrt(width), or whitened (see `whitening`); either is
   folded into the weights at the end, and recorded.
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

from inscape.core import DataError, InputError, Stopped, progress, seeded
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.storage import lock
from inscape.training.checkpoint import load_checkpoint, refuse_difference, save_checkpoint
from inscape.training.config import TrainConfig
from inscape.training.initial import initial_weights
from inscape.training.log import TrainingLog
from inscape.training.stream import ActivationSource
from inscape.training.trainer import Trainer
from inscape.training.whitening import Whitening

LOG = "train.jsonl"
MISSED = 0.25
"""How far from its target a mean number of active features may end without a word."""
_SAMPLE = 8192
_TOKENS_PER_DIMENSION = 32


def train(
    store: ActivationSource,
    site_in: str,
    site_out: str,
    out: Path,
    config: TrainConfig,
    *,
    name: str,
) -> Dictionary:
    """Train a dictionary and save it at `out`; a finished one is returned.

    Args:
        store: where batches come from (an `ActivationStore`).
        site_in, site_out: equal for an autoencoder; another `site_out` makes a transcoder.
        out: the dictionary's folder; its parents are made.
        config: size, length and rates.
        name: the dictionary's name, as in `name/feature`.

    Raises:
        InputError: `out`, or the checkpoint of a stopped run, was made with other settings; a
            transcoder is to be whitened, or an autoencoder to have a skip.
        DataError: an activation, or the loss, is not finite.
        Stopped: Ctrl-C; the same call goes on.
        StorageError: the disk is full; the last checkpoint stays.
    """
    out = Path(out)
    shape = _shape(store, site_in, site_out, config)
    if config.whiten and shape.transcoder:
        raise InputError(
            f"{name} would read {site_in} and write {site_out} whitened",
            expected="an autoencoder: whitening is for one site",
            next_step="train the transcoder without whitening",
        )
    if config.skip and not shape.transcoder:
        raise InputError(
            f"{name} would have a linear skip from {site_in} to itself",
            expected="a transcoder: an autoencoder's skip would be the identity",
            next_step="give another site to write, or leave the skip out",
        )
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


def missed_target(dictionary: Dictionary) -> str | None:
    """One line where training ended with another number of active features than it aimed at."""
    asked = dictionary.made_from.get("training", {}).get("k")
    found = dictionary.made_from.get("figures", {}).get("l0")
    if asked is None or found is None or dictionary.config.kind == "topk":
        return None
    if abs(found / asked - 1) <= MISSED:
        return None
    return (
        f"{dictionary.name} ends with {found:.3g} active features per token instead of {asked}: "
        "train longer, or change the penalty's weight"
    )


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
        skip=config.skip,
    )


def _request(
    store: ActivationSource, shape: DictionaryConfig, config: TrainConfig
) -> dict[str, Any]:
    """What decides the result; how often checkpoints and log lines are written does not."""
    # Runs from before there was a choice go on: what is as it was then is not told.
    later = {"whiten": False, "variant": "topk", "options": {}, "skip": False}
    unsaid = {key for key, default in later.items() if getattr(config, key) == default}
    settings = config.model_dump(exclude={"checkpoint_seconds", "log_every", *unsaid})
    settings["aux_weight"] = config.aux_share
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
    source = _Source(store, shape, config)
    trainer = Trainer(shape, config, source.initial())
    log_bytes = load_checkpoint(partial, trainer, made_from)
    log = TrainingLog(partial / LOG, log_bytes, config)
    loop = _Loop(trainer, config, partial, made_from, log)
    loop.run(source.batches(start=trainer.num_steps), f"train {name}")
    kind, weights = trainer.variant.finish(trainer.weights)
    weights = source.fold(weights)
    if not (shape.transcoder or trainer.variant.unit_decoder or config.whiten):
        weights = _with_unit_rows(weights)
    return Dictionary(
        shape.model_copy(update={"kind": kind}),
        weights,
        name=name,
        input_scale=source.scales[0],
        output_scale=source.scales[1],
        made_from={**made_from, "figures": log.last},
    )


class _Source:
    """Activations as training sees them, scaled or whitened, and the way back.

    Attributes:
        scales: of input and output; 1 where they are whitened.
    """

    def __init__(
        self, store: ActivationSource, shape: DictionaryConfig, config: TrainConfig
    ) -> None:
        self.store, self.shape, self.config = store, shape, config
        self._sample = self._first()
        self.whitening = Whitening.of(self._sample) if config.whiten else None
        self.scales = (1.0, 1.0)
        if self.whitening is None:
            self.scales = _scale(store, shape.site_in), _scale(store, shape.site_out)

    def _first(self) -> Tensor:
        """Tokens of the input's site; enough of them for a covariance, where one is needed."""
        width = self.shape.d_in
        count = max(_SAMPLE, _TOKENS_PER_DIMENSION * width) if self.config.whiten else _SAMPLE
        seed = seeded(self.config.seed, "sample")
        stream = self.store.batches([self.shape.site_in], count, seed=seed, epochs=1, memory=0)
        return next(stream)[self.shape.site_in]

    def initial(self) -> dict[str, Tensor]:
        """The weights that training begins with."""
        mean = torch.from_numpy(self.store.site_stats(self.shape.site_out).mean * self.scales[1])
        sample = self._seen(self._sample, self.scales[0])
        return initial_weights(self.shape, sample=sample, target_mean=mean, seed=self.config.seed)

    def _seen(self, x: Tensor, scale: float) -> Tensor:
        return x.mul_(scale) if self.whitening is None else self.whitening(x)

    def batches(self, *, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(read, to be predicted), batch after batch."""
        shape = self.shape
        sites = list(dict.fromkeys((shape.site_in, shape.site_out)))
        seed = seeded(self.config.seed, "data")
        for batch in self.store.batches(sites, self.config.batch_size, seed=seed, start=start):
            x = self._seen(batch[shape.site_in], self.scales[0])
            yield x, batch[shape.site_out].mul_(self.scales[1]) if shape.transcoder else x

    def fold(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights that act on activations as the model has them."""
        if self.whitening is not None:
            return self.whitening.fold(weights)
        return _fold(weights, self.shape, *self.scales)


def _fold(
    weights: dict[str, Tensor], shape: DictionaryConfig, scale_in: float, scale_out: float
) -> dict[str, Tensor]:
    """Weights that act on activations as the model has them.

    An autoencoder keeps its decoder rows: its values take the scale instead, so that they are in
    units of the activations. A transcoder keeps its values, and its maps take the scales.
    """
    folded = {**weights, "b_dec": weights["b_dec"] / scale_out}
    if shape.subtract_b_dec:
        for key in folded.keys() & {"b_enc", "threshold"}:
            folded[key] = weights[key] / scale_in
        return folded
    folded |= {"W_enc": weights["W_enc"] * scale_in, "W_dec": weights["W_dec"] / scale_out}
    if shape.skip:
        folded["W_skip"] = weights["W_skip"] * (scale_in / scale_out)
    return folded


def _with_unit_rows(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same autoencoder with decoder rows of unit norm: its values take their lengths."""
    norm = weights["W_dec"].norm(dim=1)
    norm = torch.where(norm > 0, norm, 1.0)
    longer = {k: weights[k] * norm for k in weights.keys() & {"b_enc", "threshold"}}
    rows = norm[:, None]
    maps = {"W_enc": weights["W_enc"] * rows, "W_dec": weights["W_dec"] / rows}
    return {**weights, **longer, **maps}


class _Loop:
    """Steps, log lines and checkpoints."""

    def __init__(
        self,
        trainer: Trainer,
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
