"""What a training will take, before it is begun: memory, traffic and time.

1. Memory is counted: what a step of `trainer` holds at once, array by array. The most of it is held
   either while entries are chosen or while weight gradients are summed up.
2. Traffic is counted: what `ranks` sums up or gathers in a step, by axis. A sum over P processes
   makes each of them send 2 (P - 1) / P times its size, a gathering P - 1 times.
3. Time is counted in units of work (a product's operations, entries looked through, numbers added,
   bytes of batches passed over) and divided by the rates at which this machine does each of them
   (`rates`). No rate comes from a training.
4. What cannot be counted is assumed, and said: how many entries are active, and how many features
   are dead.

All processes of a training are taken to be like the one that was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inscape.dictionary import DictionaryConfig
from inscape.storage import plain
from inscape.training.config import TrainConfig
from inscape.training.costs import ALONE, FP32, Activity, Costs, Processes
from inscape.training.rates import Rates, Workload

NETWORK = "the network's rate is not measured: the time for exchange is not in it"
DELAYS = "exchange takes the time of its bytes: the delay of each message is not in it"


@dataclass(frozen=True)
class Plan:
    """What a training takes. Bytes and seconds, of one process where nothing else is said.

    memory: bytes by what they are for; the sum is held at the worst moment of the run, beyond what
    a process has before it begins. sent: bytes sent in a step along each axis. step_seconds: a
    step's by part, without exchange. exchange_seconds: None where it is not measured.
    total_seconds: of the whole run. checkpoint_bytes, dictionary_bytes, activations_bytes: on disk,
    of all processes together. assumed: what was not counted or measured.
    """

    processes: Processes
    memory: Mapping[str, float]
    sent: Mapping[str, float]
    step_seconds: Mapping[str, float]
    exchange_seconds: float | None
    num_steps: int
    checkpoint_bytes: float
    dictionary_bytes: float
    activations_bytes: float
    assumed: tuple[str, ...] = field(default=())

    @property
    def memory_bytes(self) -> float:
        """All of a process's memory."""
        return sum(self.memory.values())

    @property
    def total_seconds(self) -> float:
        """The whole run, with the exchange where its rate is known."""
        step = sum(self.step_seconds.values()) + (self.exchange_seconds or 0.0)
        return step * self.num_steps

    def to_json(self) -> dict[str, Any]:
        """Plain values; keys are the fields' names, and the sums."""
        sums = {"memory_bytes": self.memory_bytes, "total_seconds": self.total_seconds}
        found: dict[str, Any] = {**plain(self), **sums}
        return found


def plan(
    shape: DictionaryConfig,
    config: TrainConfig,
    rates: Rates,
    *,
    processes: Processes = ALONE,
    dead_share: float = 0.05,
    buffer: float = 0.0,
) -> Plan:
    """What a training takes.

    Args:
        shape, config: the dictionary's and the training's. rates: of a machine like each process's.
        processes: who shares the work. dead_share: of the features, where there is an auxiliary
            loss. buffer: bytes that the source of activations holds at most.

    Raises:
        InputError: the work cannot be shared so, or is not known.
    """
    costs = Costs(shape, config, processes)
    mean = costs.mean_activity(dead_share)
    width = shape.d_in + (shape.d_out if shape.transcoder else 0)
    stored = 2.0 * config.num_steps * config.batch_size * width
    sent = costs.sent(mean)
    total_sent = sum(sent.values())
    exchange = 0.0 if not total_sent else None
    if total_sent and rates.network is not None:
        exchange = total_sent / rates.network
    seconds = {"read": costs.reading_seconds(rates), **costs.seconds(mean, rates)}
    alone = Costs(shape, config)
    return Plan(
        processes=processes,
        memory=costs.peak(dead_share, buffer=min(buffer, stored)),
        sent=sent,
        step_seconds=seconds,
        exchange_seconds=exchange,
        num_steps=config.num_steps,
        checkpoint_bytes=3.0 * alone.weights * FP32 + 8 * shape.d_dict,
        dictionary_bytes=float(alone.weights * FP32),
        activations_bytes=stored,
        assumed=_assumed(costs, mean, exchange),
    )


def _assumed(costs: Costs, mean: Activity, exchange: float | None) -> tuple[str, ...]:
    """What was neither counted nor measured, in lines."""
    config, found = costs.config, []
    if mean.dead:
        found.append(
            f"{mean.dead} features are dead, with {mean.extra:.0f} entries of the auxiliary loss "
            "in a row"
        )
    if config.variant in ("batch_topk", "matryoshka"):
        found.append(f"{mean.collected:.0f} entries of a row are looked at to keep {config.k}")
    elif not costs.kind.slots:
        first = costs.activity(0.0).active
        found.append(
            f"active entries of a row fall from {first:.0f} to {config.k} over the first "
            f"{costs._fall():.0%} of the run, {mean.active:.0f} in the mean"
        )
    found.append("each token is seen once: the activations on disk are those of all tokens")
    found.append("what the allocator keeps of freed memory is not in the memory")
    if exchange is None:
        found.append(NETWORK)
    elif exchange:
        found.append(DELAYS)
    return tuple(found)


def workload(
    shape: DictionaryConfig, config: TrainConfig, processes: Processes, dead_share: float = 0.05
) -> Workload:
    """What the rates of a plan are to be measured at."""
    costs = Costs(shape, config, processes)
    return costs.workload(costs.mean_activity(dead_share))


def sharings(
    shape: DictionaryConfig,
    config: TrainConfig,
    total: int,
    *,
    dead_share: float = 0.05,
    buffer: float = 0.0,
) -> dict[Processes, float]:
    """The memory of a process for every way in which `total` processes can share the work."""
    found = {}
    for features in range(1, total + 1):
        if total % features or shape.d_dict % features or config.batch_size % (total // features):
            continue
        processes = Processes.of(total, features)
        memory = Costs(shape, config, processes).peak(dead_share, buffer=buffer)
        found[processes] = sum(memory.values())
    return found
