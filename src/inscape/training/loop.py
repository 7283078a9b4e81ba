"""The training loop: dictionaries from a source of activations, from the start or a checkpoint.

1. Activations are scaled or whitened (see `view`); either is folded into the weights at the end,
   and recorded.
2. Weights are initialised as published (see `initial`); the step number determines the batch.
3. Dictionaries with the same batches (batch size, data seed) are trained on one pass over them:
   each batch is read once. Each is bit-identical to one trained alone.
4. `<out>.partial` holds the checkpoint and the log of a run. Ctrl-C finishes the step, writes a
   checkpoint and stops; after any interruption, crashes included, the same command resumes from the
   last checkpoint with a bit-identical result.
5. A finished `out` appears atomically: dictionary.json, weights.safetensors, train.jsonl.
6. Several processes (see `ranks`, `connect`) take every step together, on their rows and features.
   The first logs and writes; all write their part of each checkpoint. At every step they agree on
   whether to write one and whether to stop.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from inscape.activations import TensorActivations
from inscape.core import (
    InputError,
    Stopped,
    StorageError,
    all_of,
    instance_of,
    progress,
    seeded,
    track,
)
from inscape.dictionary import Dictionary, DictionaryConfig, single_sites
from inscape.storage import lock, refuse_filled, remove
from inscape.training.checkpoint import is_run, load_checkpoint, refuse_difference, save_checkpoint
from inscape.training.config import TrainConfig
from inscape.training.listeners import Listener
from inscape.training.log import LOG, TrainingLog
from inscape.training.prefetch import prefetched
from inscape.training.ranks import Ranks
from inscape.training.stopping import interruptible
from inscape.training.stream import ActivationSource, check_source
from inscape.training.trainer import StepMetrics, Trainer
from inscape.training.view import View

_CHECKPOINT_COST = 40
"""Writing checkpoints takes at most 1/40 of the time: large ones are written less often."""
MISSED = 0.25
"""The relative deviation of the final L0 from its target above which a notice is given."""
MOSTLY_DEAD = 0.5
"""The fraction of dead features from which on one is given."""


@dataclass(frozen=True)
class Watch:
    """An evaluation during training, such as the loss recovered on a held-out text.

    measure: metrics by name, of the current dictionary. times: how often, evenly over the run, the
    last time at its end.
    """

    measure: Callable[[Dictionary], Mapping[str, float]]
    times: int = 10

    def due(self, step: int, num_steps: int) -> bool:
        """Whether to evaluate after this step."""
        return step * self.times // num_steps > (step - 1) * self.times // num_steps


@dataclass(frozen=True)
class Job:
    """One dictionary to train.

    site_in, site_out: equal for an autoencoder, different for a transcoder. Several sites joined by
    "+" make a crosscoder or, with equally many other sites to write, a cross-layer transcoder (see
    `DictionaryConfig`); d_dict and k then count over all of them. out: the dictionary's folder,
    created with its parents. name: as in `name/feature`. watch: held-out evaluation during
    training. listeners: receive each line of its log.
    """

    site_in: str
    site_out: str
    out: Path
    config: TrainConfig
    name: str
    watch: Watch | None = None
    listeners: tuple[Listener, ...] = ()

    def __post_init__(self) -> None:
        for site in (self.site_in, self.site_out, self.name):
            instance_of(str, site, "a site or name", "text, such as resid_post.3")
        instance_of((str, Path), self.out, "a dictionary's folder", "a path")
        instance_of(TrainConfig, self.config, "training settings", "a TrainConfig")
        object.__setattr__(self, "out", Path(self.out))


def train(
    store: ActivationSource | Tensor | Mapping[str, Tensor],
    site_in: str | None = None,
    site_out: str | None = None,
    out: Path | None = None,
    config: TrainConfig | None = None,
    *,
    name: str = "dictionary",
    watch: Watch | None = None,
    listeners: Sequence[Listener] = (),
    ranks: Ranks | None = None,
    **settings: Any,
) -> Dictionary:
    """Train a dictionary and save it at `out`; one that is already finished is loaded and returned.

        train(activations, k=64)  # [tokens, width], in memory; nothing is saved

    Args:
        store: where batches come from (an `ActivationStore`), or activations in memory: a tensor
            [tokens, width], or one for each site.
        site_in, site_out, out, config, name, watch, listeners: see `Job`. For a single tensor the
            site need not be named; without `site_out` an autoencoder is trained; without `out` the
            dictionary is only returned.
        settings: some fields of the config, instead of a config (see `default_config`).
        ranks: the processes that train it together, each of which makes this call (see
            `connected`); by default a single process.

    Raises:
        InputError: `out`, or the checkpoint of a stopped run, was made with other settings; a
            transcoder is to be whitened, or an autoencoder to have a skip; batches or features
            cannot be divided evenly.
        DataError: an activation, or the loss, is not finite.
        Stopped: Ctrl-C; the same call resumes.
        StorageError: the disk is full; the last checkpoint is kept.
        PeerError: another process has ended; the same call on all of them resumes.
    """
    if isinstance(store, Tensor | Mapping):
        held = TensorActivations(store)
        store, site_in = held, site_in or held.sites[0]
    check_source(store)
    if site_in is None or (config is not None and settings):
        raise InputError("train needs a site, and a config or some of its fields")
    if config is None:
        config = default_config(store, site_in, **settings)
    with nullcontext() if out is not None else tempfile.TemporaryDirectory() as folder:
        out = Path(str(folder)) / str(name) if out is None else out
        job = Job(site_in, site_out or site_in, out, config, name, watch, tuple(listeners))
        return train_many(store, [job], ranks)[0]


def default_config(source: ActivationSource, site_in: str, **settings: Any) -> TrainConfig:
    """Training settings; by default d_dict is 16 times the width, k an eighth of the width, and
    2 M tokens are seen."""
    check_source(source)
    width = sum(map(source.width, single_sites(site_in)))
    defaults = {"d_dict": 16 * width, "k": max(1, width // 8), "tokens": 2_000_000}
    return TrainConfig(**{**defaults, **{n: v for n, v in settings.items() if v is not None}})


def train_many(
    store: ActivationSource, jobs: Sequence[Job], ranks: Ranks | None = None
) -> list[Dictionary]:
    """Train several dictionaries; those with the same batches share one pass over them.

    Raises:
        InputError: two of them have the same folder; and as `train`, for any of them, before the
            first one starts.
        DataError, Stopped, StorageError, PeerError: as `train`.
    """
    check_source(store)
    jobs = all_of(Job, jobs, "what to train")
    folders = [job.out.absolute() for job in jobs]
    if len(set(folders)) < len(folders):
        twice = next(folder for folder in folders if folders.count(folder) > 1)
        raise InputError(f"two dictionaries would be written to {twice}", expected="one for each")
    ranks = ranks or Ranks()
    runs = [_Run(store, job, ranks) for job in jobs]
    ranks.meet()  # nobody writes while another process still looks for existing files
    groups: dict[tuple[int, int], list[_Run]] = defaultdict(list)
    for run in runs:
        if run.done is None:
            config = run.job.config
            groups[config.batch_size, seeded(config.order, "data")].append(run)
        else:
            run.tidy()
    for (batch_size, seed), members in groups.items():
        _train_together(store, members, batch_size, seed, ranks)
    return [run.finished() for run in runs]


def remarks(dictionary: Dictionary) -> list[str]:
    """What should be known of a finished training: an L0 far from its target, features that are
    mostly dead, a reconstruction that is worse than the mean."""
    asked = dictionary.made_from.get("training", {}).get("k")
    last = dictionary.made_from.get("figures", {})
    l0, dead, fvu = (last.get(name) for name in ("l0", "dead_share", "fvu"))
    found = []
    is_led = asked is not None and dictionary.config.kind != "topk"
    if is_led and l0 is not None and abs(l0 / asked - 1) > MISSED:
        found.append(
            f"{dictionary.name} ends with {l0:.3g} active features per token instead of {asked}: "
            "train longer, or change the penalty's weight"
        )
    if dead is not None and dead >= MOSTLY_DEAD:
        found.append(
            f"{dead:.0%} of the features of {dictionary.name} are dead: whiten the activations "
            "(--whiten) where a few dimensions are far larger than the rest, re-initialise dead "
            "features (--resample), or train longer"
        )
    if fvu is not None and fvu >= 1:
        found.append(
            f"{dictionary.name} explains less than the mean does (FVU {fvu:.3g}): lower the "
            "learning rate, or look at the activations"
        )
    return found


class _Run:
    """One job: its inputs, and its state during training."""

    def __init__(self, store: ActivationSource, job: Job, ranks: Ranks) -> None:
        self.store, self.job, self.ranks = store, job, ranks
        ranks.check(job.config.d_dict, job.config.batch_size)
        self.shape = dictionary_shape(store, job.site_in, job.site_out, job.config, job.name)
        self.made_from = _request(store, self.shape, job.config)
        self.partial = Path(f"{os.path.realpath(job.out)}.partial")
        self.done: Dictionary | None = None
        if (job.out / "dictionary.json").is_file():
            self.done = Dictionary.open(job.out)
            found = {key: self.done.made_from.get(key) for key in self.made_from}
            refuse_difference(found, self.made_from, job.out)
        else:
            refuse_filled(job.out)
            refuse_filled(self.partial, is_run)

    def begin(self, scratch: dict[Any, Any]) -> None:
        """Initialise, or load the last checkpoint; the folder is already locked."""
        self.view = View(self.store, self.shape, self.job.config)
        initial = self.view.initial(self.ranks.shard(self.shape.d_dict))
        weights = {key: value.to(self.ranks.device) for key, value in initial.items()}
        self.trainer = Trainer(self.shape, self.job.config, weights, self.ranks, scratch)
        log_bytes = load_checkpoint(self.partial, self.trainer, self.made_from)
        listeners = self.job.listeners if self.ranks.first else ()
        path = self.partial / LOG if self.ranks.first else None
        self.log = TrainingLog(path, log_bytes, self.job.config, listeners)
        for listener in listeners:
            listener.begin(self.job.name, self.trainer.num_steps)

    @property
    def remaining(self) -> int:
        """Remaining steps."""
        return self.job.config.num_steps - self.trainer.num_steps

    def step(self, batch: dict[str, Tensor]) -> StepMetrics:
        """The next step, on this process's rows of the batch."""
        read, wanted = self.view.pair(batch)
        x = read.to(self.ranks.device)
        metrics = self.trainer.step(x, x if wanted is read else wanted.to(self.ranks.device))
        watch, steps = self.job.watch, self.job.config.num_steps
        figures: Mapping[str, float] | None = None
        if watch is not None and watch.due(self.trainer.num_steps, steps):
            now = self.now()
            figures = {} if now is None else watch.measure(now)
        self.log.add(self.trainer, metrics, figures)
        return metrics

    def now(self) -> Dictionary | None:
        """The current dictionary, on the first process."""
        whole = self.ranks.gathered(self.trainer.weights)
        if whole is None:
            return None
        kind, weights = self.trainer.variant.finish(
            {key: value.cpu() for key, value in whole.items()}
        )
        return Dictionary(
            self.shape.model_copy(update={"kind": kind}),
            self.view.fold(weights, unit_rows=not self.trainer.variant.unit_decoder),
            name=self.job.name,
            input_scale=self.view.scales[0],
            output_scale=self.view.scales[1],
            made_from={**self.made_from, "figures": self.log.last},
        )

    def save(self) -> None:
        """A checkpoint."""
        log_bytes = self.log.size()
        save_checkpoint(self.partial, self.trainer, self.made_from, log_bytes=log_bytes)

    def end(self) -> None:
        """Save the dictionary; the other processes load what the first one has written."""
        made = self.now()
        if made is not None:
            made.save(self.job.out, extra_files={LOG: self.partial / LOG})
        self.ranks.meet()
        self.done = made or Dictionary.open(self.job.out)
        del self.trainer, self.view
        self.tidy()

    def tidy(self) -> None:
        """Remove the files that only a run in progress needs."""
        if self.ranks.first and self.partial.is_dir() and is_run(self.partial):
            remove(self.partial)

    def finished(self) -> Dictionary:
        """The finished dictionary."""
        assert self.done is not None
        return self.done


def _train_together(
    store: ActivationSource, runs: list[_Run], batch_size: int, seed: int, ranks: Ranks
) -> None:
    """Steps, log lines and checkpoints of runs with the same batches."""
    with ExitStack() as stack:
        scratch: dict[Any, Any] = {}
        for run in track(runs, "prepare", unit="dictionaries", shown=ranks.first):
            _enter(stack, run, scratch)
        first = min(run.trainer.num_steps for run in runs)
        title = f"train {runs[0].job.name}" + (f" and {len(runs) - 1} more" if runs[1:] else "")
        total = max(run.job.config.num_steps for run in runs) - first
        interrupted = stack.enter_context(interruptible())
        bar = progress(title, total * batch_size, "tokens", shown=ranks.first)
        stack.enter_context(bar)
        sites = list(dict.fromkeys(site for run in runs for site in run.view.sites))
        stream = store.batches(sites, batch_size, seed=seed, start=first, part=ranks.part)
        batches = stack.enter_context(prefetched(stream, ranks.device))
        saved, number = time.monotonic(), first
        seconds = min(run.job.config.checkpoint_seconds for run in runs)
        pause, open_runs = seconds, list(runs)
        while open_runs := _unfinished(open_runs):
            batch = next(batches)
            for run in open_runs:
                if run.trainer.num_steps == number:  # other runs were stopped at a later step
                    metrics = run.step(batch)
            number += 1
            bar.advance(batch_size, fvu=metrics.fvu)
            due = ranks.first and time.monotonic() - saved >= pause
            stop, due = ranks.any(interrupted.is_set(), due)
            if stop or due:
                began = time.monotonic()
                for run in open_runs:
                    run.save()
                saved = time.monotonic()
                pause = max(seconds, _CHECKPOINT_COST * (saved - began)) if seconds else 0.0
            if stop:
                steps = max(run.job.config.num_steps for run in runs)
                raise Stopped(
                    f"training stopped after step {number} of {steps}",
                    next_step="run the same command again: it goes on from there",
                )


def _enter(stack: ExitStack, run: _Run, scratch: dict[Any, Any]) -> None:
    """Start or resume a run; the first process holds its folder's lock until the end."""
    if run.ranks.first:
        stack.enter_context(lock(run.partial))
        for listener in run.job.listeners:
            stack.callback(listener.end)
    run.ranks.meet()
    if not run.partial.is_dir():
        raise StorageError(
            f"{run.partial} is not to be seen from this process",
            expected="a folder on a disk that all machines share",
        )
    run.begin(scratch)


def _unfinished(runs: list[_Run]) -> list[_Run]:
    """The unfinished runs; the dictionaries of the others are saved."""
    for run in runs:
        if run.remaining <= 0:
            run.end()
    return [run for run in runs if run.done is None]


def dictionary_shape(
    source: ActivationSource,
    site_in: str,
    site_out: str,
    config: TrainConfig,
    name: str = "the dictionary",
) -> DictionaryConfig:
    """The shape of the dictionary to be trained; `name` is for error messages.

    Raises:
        InputError: a transcoder or a crosscoder is to be whitened, or an autoencoder to have a
            skip.
    """
    autoencoder = site_in == site_out
    reads, writes = single_sites(site_in), single_sites(site_out)
    if config.whiten and len(reads) > 1:
        raise InputError(
            f"{name} would read {len(reads)} sites whitened",
            expected="a single site",
            next_step="train without whitening: each site gets a scale of its own",
        )
    if config.whiten and not autoencoder:
        raise InputError(
            f"{name} would read {site_in} and write {site_out} whitened",
            expected="an autoencoder: whitening is for one site",
            next_step="train the transcoder without whitening",
        )
    if config.skip and autoencoder:
        raise InputError(
            f"{name} would have a linear skip from {site_in} to itself",
            expected="a transcoder: an autoencoder's skip would be the identity",
            next_step="give another site to write, or leave the skip out",
        )
    return DictionaryConfig(
        site_in=site_in,
        site_out=site_out,
        d_in=sum(map(source.width, reads)),
        d_out=sum(map(source.width, writes)),
        d_dict=config.d_dict,
        k=config.k,
        subtract_b_dec=autoencoder,
        skip=config.skip,
        widths=tuple(map(source.width, reads)) if len(reads) > 1 else (),
    )


def _request(
    store: ActivationSource, shape: DictionaryConfig, config: TrainConfig
) -> dict[str, Any]:
    """The settings that determine the result: not how often checkpoints and logs are written."""
    # Settings added later are left out at their defaults, so that older runs can be resumed.
    later = {
        "whiten": False,
        "variant": "topk",
        "options": {},
        "skip": False,
        "data_seed": None,
        "encoder": "auto",
        "resample": 0,
    }
    unsaid = {key for key, default in later.items() if getattr(config, key) == default}
    settings = config.model_dump(exclude={"checkpoint_seconds", "log_every", *unsaid})
    settings |= {"aux_weight": config.aux_loss_weight, "clip": config.largest_norm(shape)}
    return {
        "activations": dict(store.identity),
        "sites": [shape.site_in, shape.site_out],
        "training": {**settings, "lr": config.peak_lr, "dead_tokens": config.dead_window},
    }
