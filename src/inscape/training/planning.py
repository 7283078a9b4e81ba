"""The cost of a training run, estimated before it starts: memory, traffic and time.

1. Memory is computed: weights, Adam's moments, gradients, the batch and its active entries, as
   `trainer` holds them at the peak of a step.
2. Traffic is computed: what `ranks` reduces or gathers in a step. In an all-reduce over P processes
   each sends 2 (P - 1) / P times the tensor's size, in an all-gather P - 1 times.
3. Time is measured: STEPS real steps on random activations, with one process's part of the rows
   and features, after WARM_UP others. A dictionary of more than MOST_PARAMETERS is timed with fewer
   features; the time of a step is proportional to them.
4. A fraction DEAD of the features is assumed dead. The active entries are those of the first steps,
   when variants without a fixed number of them have most.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from inscape.activations import TensorActivations
from inscape.core import instance_of, whole
from inscape.dictionary import DictionaryConfig
from inscape.training.config import TrainConfig
from inscape.training.ranks import Ranks, data_processes
from inscape.training.stream import ActivationSource, check_source
from inscape.training.trainer import Trainer
from inscape.training.variants.base import DENSE
from inscape.training.view import View

STEPS, WARM_UP = 20, 2
MOST_PARAMETERS = 1 << 27
DEAD = 0.05
_MOST_SECONDS = 20.0
_FP32, _PRODUCT = 4, 80e6  # a chunk of pre-activations, and the BLAS library's packing buffers


@dataclass(frozen=True)
class Plan:
    """The cost of a training run; bytes and seconds are per process unless stated otherwise.

    memory: peak bytes by use. sent: bytes sent per step along each axis of processes.
    step_seconds: of a step, without communication and without reading the activations.
    tried_features: how many features the timed steps had. checkpoint_bytes, dictionary_bytes,
    activations_bytes: on disk, for all processes together, the activations only if they are
    stored.
    """

    processes: int
    feature_shards: int
    memory: Mapping[str, float]
    sent: Mapping[str, float]
    step_seconds: float
    tried_features: int
    num_steps: int
    checkpoint_bytes: float
    dictionary_bytes: float
    activations_bytes: float

    @property
    def memory_bytes(self) -> float:
        """The total memory of a process."""
        return sum(self.memory.values())

    @property
    def total_seconds(self) -> float:
        """The time of all steps."""
        return self.step_seconds * self.num_steps

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys are the fields' names, and the sums."""
        sums = {"memory_bytes": self.memory_bytes, "total_seconds": self.total_seconds}
        return {**asdict(self), **sums}


def plan(
    source: ActivationSource,
    shape: DictionaryConfig,
    config: TrainConfig,
    *,
    processes: int = 1,
    feature_shards: int = 1,
    buffer: float = 0.0,
    device: str = "cpu",
) -> Plan:
    """Estimate the cost of a training run.

    Args:
        source: only the widths of its sites are read. shape, config: of the dictionary and of the
            training. processes: how many share the work, with the features in `feature_shards`
            shards. buffer: bytes that the source of activations holds. device: for the timed steps.

    Raises:
        InputError: the work cannot be divided in this way.
    """
    check_source(source)
    instance_of(DictionaryConfig, shape, "the shape of a dictionary:", "a DictionaryConfig")
    instance_of(TrainConfig, config, "training settings", "a TrainConfig")
    whole(processes, "processes:", 1)
    data = data_processes(processes, whole(feature_shards, "feature shards:", 1))
    ranks = Ranks()
    ranks.num_data, ranks.num_features = data, feature_shards
    ranks.check(shape.d_dict, config.batch_size)
    own = shape.d_dict // feature_shards
    rows = config.batch_size // data
    widths = shape.d_in + shape.d_out
    cut = max(config.k, min(own, MOST_PARAMETERS // widths))
    tried = _Trial(source, shape, config, rows=rows, features=cut, device=device)
    parameters = tried.parameters(own)
    entries = rows * tried.entries / feature_shards
    aux_k = tried.aux_k
    dead = round(DEAD * shape.d_dict) if aux_k else 0
    total_parameters = tried.parameters(shape.d_dict)
    read = shape.d_in + shape.transcoder * shape.d_out
    return Plan(
        processes,
        feature_shards,
        memory={
            "weights": _FP32 * parameters,
            "moments": 2 * _FP32 * parameters,
            "gradients": _FP32 * own * (widths + 12),
            "batch": _FP32 * rows * (3 * read + 4 * shape.d_out),
            "codes": 64 * entries + _auxiliary_bytes(rows, dead, aux_k, shape, feature_shards),
            "product": _PRODUCT,
            "buffer": buffer,
        },
        sent=_sent(rows, own, data, feature_shards, shape, config.k + min(aux_k, dead)),
        step_seconds=tried.seconds * own / cut,
        tried_features=cut,
        num_steps=config.num_steps,
        checkpoint_bytes=3.0 * _FP32 * total_parameters + 8 * shape.d_dict,
        dictionary_bytes=float(_FP32 * total_parameters),
        activations_bytes=2.0 * config.num_steps * config.batch_size * read,
    )


def _auxiliary_bytes(
    rows: int, dead: int, aux_k: int, shape: DictionaryConfig, feature_shards: int
) -> float:
    """The memory of the dead features' code, as a dense matrix or in slots."""
    slots = min(aux_k, dead)
    if feature_shards == 1 and dead <= DENSE * slots:
        return _FP32 * (2 * rows * dead + 3 * dead * max(shape.d_in, shape.d_out))
    return float(72 * rows * slots * feature_shards)


def _sent(
    rows: int, features: int, data: int, shards: int, shape: DictionaryConfig, entries: int
) -> dict[str, float]:
    """Bytes that a process sends per step along each axis; `entries` per row are gathered."""
    gradients = features * (shape.d_in + shape.d_out + 3) + 4 * shape.d_out
    across = 2 * rows * shape.d_out + shape.d_in
    return {
        "data": _FP32 * 2 * (data - 1) / data * gradients,
        "features": _FP32 * (2 * (shards - 1) / shards * across + (shards - 1) * rows * entries),
    }


class _Trial:
    """Some steps on random activations.

    seconds: the median of a step. entries: active ones of a row, the mean over the steps.
    """

    def __init__(
        self,
        source: ActivationSource,
        shape: DictionaryConfig,
        config: TrainConfig,
        *,
        rows: int,
        features: int,
        device: str,
    ) -> None:
        self.shape = shape.model_copy(update={"d_dict": features})
        size = {"d_dict": features, "batch_size": rows, "tokens": config.num_steps * rows}
        config = config.model_copy(update={**size, "resample": 0, "dead_tokens": 10**12})
        random = _random(source, self.shape, rows)
        view = View(random, self.shape, config)
        weights = {key: value.to(device) for key, value in view.initial().items()}
        trainer = Trainer(self.shape, config, weights)
        self.aux_k = trainer.aux_k
        self._per_feature = sum(w.numel() for w in trainer.weights.values() if len(w) == features)
        self._others = sum(w.numel() for w in trainer.weights.values()) - self._per_feature
        every = round(1 / DEAD)
        spent, l0 = [], []
        began = time.perf_counter()
        for number, batch in enumerate(random.batches(view.sites, rows, seed=1)):
            x, y = (values.to(device) for values in view.pair(batch))
            trainer.silent_tokens[::every] = 10**12
            start = time.perf_counter()
            l0.append(float(trainer.step(x, y).l0))
            spent.append(time.perf_counter() - start)
            late = number >= WARM_UP and time.perf_counter() - began > _MOST_SECONDS
            if late or number + 1 == min(STEPS + WARM_UP, config.num_steps):
                break
        self.seconds = float(np.median(spent[WARM_UP:] or spent))
        self.entries = float(np.mean(l0))

    def parameters(self, features: int) -> int:
        """The number of parameters with this many features."""
        return self._per_feature // self.shape.d_dict * features + self._others


def _random(source: ActivationSource, shape: DictionaryConfig, rows: int) -> TensorActivations:
    """Normally distributed activations with the widths of a source."""
    generator = torch.Generator().manual_seed(0)
    count = max(2 * rows, 2 * shape.d_in)  # more than dimensions: they may be whitened
    sites = (*shape.sites_in, *shape.sites_out)
    return TensorActivations(
        {site: torch.randn((count, source.width(site)), generator=generator) for site in sites}
    )
