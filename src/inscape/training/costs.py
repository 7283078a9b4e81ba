"""What a step of training holds, sends and does, counted by the code that does it; see `plan`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch

from inscape.core import InputError
from inscape.dictionary import DictionaryConfig, chunk_rows
from inscape.training.config import TrainConfig, uses_half
from inscape.training.rates import Rates, Workload
from inscape.training.variants.base import DENSE
from inscape.training.variants.batch_topk import FLOOR
from inscape.training.variants.jumprelu import FIRST_L0

FP32 = 4
PACKED = 16e6
"""Bytes that the library of the product packs its matrices into: the product alone was measured to
take 12 to 16 MB more than its matrices, for 8,192 and 32,768 features of width 512."""


@dataclass(frozen=True)
class _Kind:
    """What a variant holds and does for each entry, counted in its file.

    held: bytes of an entry from its choice to the weight gradients. made: bytes while it is chosen
    or penalised, at most. passed: bytes that operations on all entries read and write. gathers,
    scatters: look-ups and sums by feature. decodes, gradients: how often the code is decoded, and
    its values' gradients are taken. own: parameters of a feature beside its two rows and its bias.
    slots: whether rows have k slots.
    """

    held: int
    made: int
    passed: int
    gathers: int = 0
    scatters: int = 1
    decodes: int = 1
    gradients: int = 1
    own: int = 0
    slots: bool = False


# An entry is an index of 8 bytes and a value of 4; what comes from chunks is there twice while they
# are joined (24). A gradient of the value and one of the pre-activation take 4 bytes each.
_KINDS = {
    "topk": _Kind(held=16, made=12, passed=30, slots=True),
    "batch_topk": _Kind(held=16, made=24, passed=70),
    "matryoshka": _Kind(held=16, made=24, passed=110, gathers=2),
    "relu": _Kind(held=20, made=24, passed=120, gathers=2, scatters=2),
    "jumprelu": _Kind(held=25, made=46, passed=190, gathers=2, scatters=2, gradients=2, own=1),
    "gated": _Kind(
        held=28, made=40, passed=220, gathers=5, scatters=5, decodes=2, gradients=2, own=2
    ),
}
_LED = ("relu", "gated")


@dataclass(frozen=True)
class Activity:
    """How many entries a row of the batch has, all features taken together.

    active: that take part in the reconstruction. collected: that are looked at to choose them.
    dead: features of the auxiliary loss; extra: their entries with a value.
    """

    active: float
    collected: float
    dead: int = 0
    extra: float = 0.0


@dataclass(frozen=True)
class Processes:
    """data x features: processes that see other rows, and that hold other features."""

    data: int = 1
    features: int = 1

    @classmethod
    def of(cls, total: int, features: int) -> Processes:
        """`total` processes, of which groups of `features` share the features.

        Raises:
            InputError: they cannot be grouped so.
        """
        if total < 1 or features < 1 or total % features:
            raise InputError(
                f"{total} processes cannot share the features {features} ways",
                expected=f"a number that {total} is a multiple of",
            )
        return cls(total // features, features)


ALONE = Processes()


class Costs:
    """The counts for one training on some processes.

    Args:
        shape, config: the dictionary's, and the training's. processes: who shares the work. device:
            where it is done.

    Raises:
        InputError: the batch or the features cannot be shared so, or the variant is not one of
            inscape's own, whose work is not known.
    """

    def __init__(
        self,
        shape: DictionaryConfig,
        config: TrainConfig,
        processes: Processes = ALONE,
        device: str = "cpu",
    ) -> None:
        if config.variant not in _KINDS:
            raise InputError(
                f"the work of variant {config.variant!r} is not known",
                expected=f"one of {', '.join(_KINDS)}",
            )
        for what, total, parts in (
            ("features", shape.d_dict, processes.features),
            ("rows of a batch", config.batch_size, processes.data),
        ):
            if total % parts:
                raise InputError(
                    f"{total} {what} cannot be shared {parts} ways",
                    expected=f"a multiple of {parts}",
                )
        self.shape, self.config, self.processes = shape, config, processes
        self.kind = _KINDS[config.variant]
        self.rows = config.batch_size // processes.data
        self.features = shape.d_dict // processes.features
        self.aux_k = (config.aux_k or max(1, shape.d_out // 2)) if config.aux_share else 0
        prefixes = config.options.get("prefixes", (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0))
        self.groups = len(prefixes) if config.variant == "matryoshka" else 1
        self.half = uses_half(config, shape, torch.device(device))

    def dense(self, activity: Activity) -> bool:
        """Whether the dead features' code is a dense matrix."""
        slots = min(self.aux_k, activity.dead)
        return self.processes.features == 1 and 0 < activity.dead <= DENSE * slots

    @property
    def weights(self) -> int:
        """Parameters that a process holds."""
        shape = self.shape
        each = shape.d_in + shape.d_out + 1 + self.kind.own
        return self.features * each + shape.d_out + shape.skip * shape.d_out * shape.d_in

    # How many entries there are.

    def activity(self, progress: float, dead_share: float = 0.0) -> Activity:
        """At a share of the run, with a share of the features dead.

        Pre-activations are taken to be spread normally; those of dead features are positive for
        every other row.
        """
        k, m = float(self.config.k), self.shape.d_dict
        dead = round(dead_share * m) if self.aux_k else 0
        extra = min(float(self.aux_k), dead / 2)
        if self.config.variant in ("batch_topk", "matryoshka"):
            border = NormalDist().inv_cdf(1 - k / m) if k < m else -math.inf
            above = 1 - NormalDist().cdf(FLOOR * border) if border > 0 else 0.5
            return Activity(min(k, m / 2), max(k, above * m), dead, extra)
        if self.kind.slots:
            return Activity(min(k, m / 2), k, dead, extra)
        first, share = self._first(), self._fall()
        falling = min(1.0, progress / share) if share else 1.0
        active = first * (k / first) ** falling
        return Activity(active, active, dead, extra)

    def mean_activity(self, dead_share: float = 0.0) -> Activity:
        """Over the whole run."""
        start = self.activity(1.0, dead_share)
        if self.kind.slots or self.config.variant in ("batch_topk", "matryoshka"):
            return start
        first, k, share = self._first(), float(self.config.k), self._fall()
        falling = (first - k) / math.log(first / k) if first > k else k
        active = share * falling + (1 - share) * k
        return Activity(active, active, start.dead, start.extra)

    def _first(self) -> float:
        """Active entries of a row at the start, where nothing limits them."""
        bound, most = 0.0, math.inf
        if self.config.variant == "jumprelu":
            options = self.config.options
            threshold = float(options.get("threshold") or 0.001)
            width = float(options.get("bandwidth", 0.001))
            bound = (threshold - width / 2) * math.sqrt(self.shape.d_in)
            if options.get("threshold") is None and options.get("penalty", "l0") == "l0":
                most = float(FIRST_L0 * self.config.k)
        free = (1 - NormalDist().cdf(bound)) * self.shape.d_dict
        return max(float(self.config.k), min(free, most))

    def _fall(self) -> float:
        """The share of the run over which the active entries fall to the target."""
        options = self.config.options
        if options.get("ramp") is not None:
            return float(options["ramp"])
        led = options.get("coefficient") is None
        if self.config.variant in _LED:
            return 0.5 if led else 0.05
        if options.get("penalty", "l0") == "l0":
            return 0.1
        return 0.5 if led else 1.0

    # Memory.

    def memory(
        self, activity: Activity, *, buffer: float = 0.0, reads: int = 1
    ) -> dict[str, float]:
        """Bytes that a process holds at the worst moment of a step, by what they are for.

        Args:
            buffer: what the source of activations holds. reads: copies of the batch that are there
                before the step: 1 where the batch is given as it is, 2 where it is scaled.
        """
        shape, rows, features = self.shape, self.rows, self.features
        x, y = rows * shape.d_in * FP32, rows * shape.d_out * FP32
        read = reads * (x + shape.transcoder * y) + shape.subtract_b_dec * x + shape.skip * y
        choice, gradients = self._codes(activity)
        prefixes = 2 if self.groups > 1 else 1
        made: float = prefixes * self.groups * y + self.groups * y  # errors, gradients
        if self.dense(activity):
            made += y + self._dense_bytes(activity)
        elif activity.dead:
            made += y + (self.groups + 1) * y  # the auxiliary loss's, and both joined
        batch, codes = (read, choice) if choice > gradients + made else (read + made, gradients)
        each = 2 + self.kind.own  # bias, squared norm and the variant's own
        vectors = features * (each * FP32 + 8 + 16 + 8 + (24 if self.groups > 1 else 0))
        return {
            "weights": self.weights * FP32,
            "moments": 2 * self.weights * FP32,
            "gradients": features * (shape.d_in + shape.d_out) * FP32 + vectors,
            "batch": batch,
            "codes": codes,
            "product": self._product_bytes(),
            "buffer": buffer,
        }

    def _product_bytes(self) -> float:
        """A chunk of pre-activations, what the library packs, and factors in bf16."""
        size = 2 if self.half else FP32
        dtype = torch.bfloat16 if self.half else torch.float32
        rows = min(self.rows, chunk_rows(self.features, dtype))
        factors = 2 * self.shape.d_in * (self.rows + self.features) if self.half else 0
        return rows * self.features * size + PACKED + factors

    def _dense_bytes(self, activity: Activity) -> float:
        """The dead features' code and its gradient, the rows that they make, and all of these once
        more in bf16, where products are."""
        code = self.rows * activity.dead
        rows = activity.dead * (self.shape.d_in + 2 * self.shape.d_out)
        low = 2 * (code + self.rows * (self.shape.d_in + self.shape.d_out)) if self.half else 0
        return FP32 * (2 * code + rows) + low

    def peak(self, dead_share: float = 0.0, *, buffer: float = 0.0) -> dict[str, float]:
        """The most that a process holds in the whole run, by what it is for; see `memory`."""
        # Nothing is dead before the window is over, when the entries have begun to fall.
        later = self.config.dead_window / self.config.tokens
        moments = self.activity(0.0), self.activity(later, dead_share)
        found = (self.memory(activity, buffer=buffer, reads=2) for activity in moments)
        return max(found, key=lambda memory: sum(memory.values()))

    def _codes(self, activity: Activity) -> tuple[float, float]:
        """Bytes of entries while they are chosen, and while weight gradients are summed up."""
        kind, rows, shards = self.kind, self.rows, self.processes.features
        # Of a shard's slots those stay that are among the largest over all shards.
        entries = rows * (self.config.k if kind.slots else activity.active / shards)
        dense = self.dense(activity)
        slots = 0 if dense else rows * min(self.aux_k, activity.dead)
        valued = rows * (activity.active + (0 if dense else activity.extra)) / shards
        collected = rows * activity.collected / (1 if kind.slots else shards)
        choice = kind.made * collected + 12 * slots + FP32 * rows * activity.dead * dense
        if shards > 1:  # values of all shards, joined and sorted, and what was chosen
            exchanged = (
                rows * shards * max(self.config.k * kind.slots, min(self.aux_k, activity.dead))
            )
            choice += 21 * exchanged + 12 * entries
        joined = 32 if slots else 16
        gradients = (kind.held + joined) * entries + (16 + joined) * slots + 24 * valued
        return choice, gradients

    # Traffic.

    def sent(self, activity: Activity) -> dict[str, float]:
        """Bytes that a process sends in a step, along each axis."""
        shape, rows = self.shape, self.rows
        data, shards = self.processes.data, self.processes.features
        each = shape.d_in + shape.d_out + 2 + self.kind.own  # rows, bias, what fired
        each += self.config.variant == "gated"  # the bias of the magnitudes apart from the gate's
        summed = self.features * each + 4 * shape.d_out + shape.skip * shape.d_in * shape.d_out
        slots = min(self.aux_k, activity.dead)
        decodes = self.groups + self.kind.decodes - 1 + bool(slots)
        across = decodes * rows * shape.d_out + shape.subtract_b_dec * shape.d_in
        gathered = rows * (self.config.k * self.kind.slots + slots)
        return {
            "data": FP32 * 2 * (data - 1) / data * summed,
            "features": FP32 * (2 * (shards - 1) / shards * across + (shards - 1) * gathered),
        }

    # Time.

    def workload(self, activity: Activity) -> Workload:
        """What the rates are to be measured at."""
        shards = self.processes.features
        return Workload(
            d_in=self.shape.d_in,
            d_out=self.shape.d_out,
            d_dict=self.features,
            batch_size=self.rows,
            active=self.config.k if self.kind.slots else activity.active / shards,
            slots=self.kind.slots,
            num_dead=round(activity.dead / shards),
            aux_k=self.aux_k,
            num_shards=shards,
            dense=self.dense(activity),
            half=self.half,
        )

    def seconds(self, activity: Activity, rates: Rates) -> dict[str, float]:
        """The time of a step by part, without what is read before it and exchanged in it."""
        shape, rows, features, kind = self.shape, self.rows, self.features, self.kind
        shards, dense = self.processes.features, self.dense(activity)
        entries = rows * activity.active / shards
        extra = 0.0 if dense else rows * activity.extra / shards
        slots = 0 if dense else rows * min(self.aux_k, activity.dead)
        collected = rows * activity.collected / shards
        parameters = features * (shape.d_in + shape.d_out)
        skip = shape.skip * 4 * rows * shape.d_in * shape.d_out
        looked = "scan_top" if kind.slots else "scan_above"
        fused = self.groups == 1 and shards == 1
        own = shape.d_in if self.half else 0  # the dead features' pre-activations
        again = collected * self.half * (not kind.slots)  # what is collected is computed again
        dead = dense * 2 * rows * activity.dead * (3 * shape.d_out + shape.d_in + own)
        amounts: dict[str, dict[str, float]] = {
            "encode": {"product": 2 * rows * shape.d_in * features + skip},
            "choose": {
                looked: rows * features,
                "scan_dead": rows * activity.dead / shards,
                "collect": 0 if kind.slots else collected,
                "border": collected if self.config.variant in ("batch_topk", "matryoshka") else 0,
                "sort": rows * shards * (self.config.k * kind.slots) + shards * slots
                if shards > 1
                else 0,
            },
            "decode": {
                "reconstruct": fused * entries * shape.d_out,
                "decode": ((kind.decodes - fused) * entries + extra) * shape.d_out,
            },
            "gradients": {
                "dead_product": dead,
                "value_gradients": again * shape.d_in
                + ((kind.gradients - fused) * entries + extra) * shape.d_out,
                "weight_gradients": (entries + extra) * (shape.d_in + shape.d_out),
                "weight_rows": parameters,
            },
            "adam": {"adam": self.weights},
            "batch": {
                "dense": self._passed(activity)
                + kind.passed * entries
                + (64 * (entries + slots) if slots else 0),
                "gather": kind.gathers * entries,
                "scatter": kind.scatters * entries,
            },
        }
        return {
            part: sum(amount / rates[name] for name, amount in work.items())
            for part, work in amounts.items()
        }

    def _passed(self, activity: Activity) -> float:
        """Bytes of rows that operations on the batch read and write."""
        x, y = self.rows * self.shape.d_in * FP32, self.rows * self.shape.d_out * FP32
        # The error's square: 3; the spread of target and error: 6 each; the gradient: 2, and its
        # sum: 1. The auxiliary loss: 3 + 3 + 1 + 2, and 4 to join the gradients of lists.
        own: float = (
            15 + 3 * self.groups + 3 * (self.groups - 1)
        ) * y + 2 * self.shape.subtract_b_dec * x
        own += self.shape.skip * 2 * y
        if activity.dead:
            own += (9 if self.dense(activity) else 13) * y
        if self.dense(activity):  # its gradient where it is positive, and all factors in bf16
            code = self.rows * activity.dead * FP32
            own += 4 * code + self.half * 1.5 * (code + x + y)
        if self.half:
            own += 1.5 * (x + self.features * self.shape.d_in * FP32)
        through = self.shape.subtract_b_dec * self.features * self.shape.d_in * FP32  # b_dec
        return own + through + (self.features * self.shape.d_out * FP32 if self._normed else 0)

    @property
    def _normed(self) -> bool:
        """Whether a step takes the norms of the decoder's rows."""
        tanh = self.config.options.get("penalty") == "tanh"
        return self.config.variant in _LED or (self.config.variant == "jumprelu" and tanh)

    def reading_seconds(self, rates: Rates) -> float:
        """The time to gather, widen, check and scale a batch that is held in bf16."""
        width = self.shape.d_in + self.shape.transcoder * self.shape.d_out
        return 22 * self.rows * width / rates["dense"]
