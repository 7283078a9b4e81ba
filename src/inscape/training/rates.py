"""How fast this machine does what a training step is made of; measured in seconds, not guessed.

1. Each rate is that of one part of a step, run by the same code that training runs, alone, on
   random numbers of the asked widths. None of them is taken from a training run.
2. Sizes are cut where a part's cost grows in proportion (rows, features beyond any cache): what is
   timed takes tenths of a second.
3. What is done while a chunk is in the cache is timed on one chunk, again and again. What entries
   cost beyond that which is done without any is the difference of two timings.
4. Of three timings the median is taken, after one that warms up.
5. Several processes measure at the same time, as they train, and sum up a tensor over all of them:
   of P processes each sends 2 (P - 1) / P times its size. The slowest counts. One process alone has
   no network: its rate stays unknown, and what depends on it is said not to be known.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inscape.core import InputError, StorageError, track
from inscape.dictionary import Above, Encoder, RaggedCode, TopSlots, chunk_rows, kernels
from inscape.dictionary.encoder import CANDIDATES
from inscape.dictionary.kernels import AdamStep, CodeGradient, keep_top, select_half
from inscape.storage import read_json, write_json
from inscape.training.ranks import Ranks
from inscape.training.variants.batch_topk import largest

VERSION = 1
UNITS = {
    "product": "FLOP/s of the encoder's product",
    "scan_top": "pre-activations/s looked through for the k largest of a row",
    "scan_above": "pre-activations/s looked through for those above a bound",
    "dead_product": "FLOP/s of the products of the dead features' dense code",
    "scan_dead": "pre-activations/s of dead features looked through",
    "collect": "entries/s taken that are above a bound",
    "border": "entries/s from which the largest of a batch are taken",
    "sort": "entries/s sorted, row by row",
    "decode": "numbers/s of decoder rows summed up",
    "reconstruct": "numbers/s of decoder rows summed up and multiplied with the error",
    "value_gradients": "numbers/s of decoder rows multiplied with a gradient",
    "weight_gradients": "numbers/s added to weight gradients",
    "weight_rows": "numbers/s of weight gradients written",
    "adam": "parameters/s updated by Adam",
    "dense": "bytes/s read and written by operations on a batch",
    "gather": "entries/s looked up by feature",
    "scatter": "entries/s summed up by feature",
}
_ROWS, _FEATURES, _ENTRIES = 1 << 24, 1 << 25, 1 << 27
_ADAM, _TAKEN = 1 << 24, 1 << 22
_SENT = 1 << 24  # numbers: 64 MB, beside which the delay of a message is small
_CACHE = 1 << 27  # bytes that no cache holds: a batch has been driven out when it is read again
_LEAST_SECONDS, _REPEATS = 0.02, 3


@dataclass(frozen=True)
class Workload:
    """What rates are measured at.

    d_in, d_out, d_dict, batch_size: those of one process. active: entries of a row; slots: whether
    each row has as many (TopK). num_dead, aux_k: features of the auxiliary loss; dense: whether
    their code is a dense matrix. num_shards: processes that share the features. half: whether the
    encoder's product is in bf16.
    """

    d_in: int
    d_out: int
    d_dict: int
    batch_size: int
    active: float
    slots: bool = True
    num_dead: int = 0
    aux_k: int = 0
    num_shards: int = 1
    dense: bool = False
    half: bool = False


@dataclass(frozen=True)
class Rates:
    """Units by second, named in `UNITS`; network: bytes/s that a process sends, None if unknown.

    at: the workload that they were measured at. machine: what they were measured on; its processes:
    those between which the network was measured.
    """

    per_second: Mapping[str, float]
    at: Mapping[str, Any]
    machine: Mapping[str, Any]
    network: float | None = None

    def __getitem__(self, name: str) -> float:
        return self.per_second[name]

    def with_network(self, ranks: Ranks) -> Rates:
        """With the network's rate between the processes, where there are others."""
        found = measure_network(ranks)
        if found is None:
            return self
        machine = {**self.machine, "processes": ranks.num_data}
        return replace(self, network=found, machine=machine)

    def write(self, path: Path) -> None:
        """As a JSON file that `read` takes."""
        write_json(path, {"kind": "rates", "version": VERSION, "units": UNITS, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> Rates:
        """Rates that were measured before.

        Raises:
            StorageError: the file is not there, no rates, or of a newer version.
            InputError: a rate is missing, or is no positive number.
        """
        found = read_json(path)
        if not isinstance(found, dict) or found.get("kind") != "rates":
            raise StorageError(
                f"{path} holds no rates", next_step="write one with inscape plan --measure"
            )
        if found.get("version", 0) > VERSION:
            raise StorageError(
                f"{path}: found version {found['version']}, this inscape reads up to {VERSION}",
                next_step="upgrade inscape",
            )
        network = found.get("network")
        wanted = {**{name: found.get("per_second", {}).get(name) for name in UNITS}}
        for name, value in {**wanted, **({} if network is None else {"network": network})}.items():
            if not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise InputError(
                    f"{path}: the rate {name} is {value}",
                    expected="a positive number",
                    next_step="measure it again with inscape plan --measure",
                )
        return cls(wanted, found.get("at", {}), found.get("machine", {}), network)


def measure(at: Workload, *, device: torch.device | str = "cpu", shown: bool = True) -> Rates:
    """The rates of this machine for a workload, with as many threads as torch uses; shown: whether
    there is to be a progress bar."""
    bench = _Bench(at, torch.device(device))
    found: dict[str, float] = {}
    parts = (bench.encoder, bench.codes, bench.selection, bench.gradients, bench.streams)
    for part in track(parts, "measure rates", unit="parts", shown=shown):
        found |= part()
    machine = {
        "processor": _processor() if bench.device.type == "cpu" else str(bench.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    return Rates(found, asdict(at), machine)


def measure_network(ranks: Ranks) -> float | None:
    """Bytes/s that a process sends while all of them sum up one tensor; None for one alone.

    Args:
        ranks: processes that share the rows alone.
    """
    if ranks.alone:
        return None
    tensor = torch.zeros(_SENT, device=ranks.device)
    _summed(ranks, tensor, 1)  # warms up
    once = -ranks.least(-_summed(ranks, tensor, 1))  # the slowest one's: all count alike
    count = max(1, round(_LEAST_SECONDS / max(once, 1e-7)))
    own = statistics.median(_summed(ranks, tensor, count) for _ in range(_REPEATS)) / count
    share = 2 * (ranks.num_data - 1) / ranks.num_data
    return share * tensor.nbytes / -ranks.least(-own)


def _summed(ranks: Ranks, tensor: Tensor, count: int) -> float:
    """Seconds that so many sums take."""
    ranks.meet()
    began = time.perf_counter()
    for _ in range(count):
        ranks.over_data(tensor)
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter() - began


class _Bench:
    """The parts of a step on random numbers."""

    def __init__(self, at: Workload, device: torch.device) -> None:
        width = max(at.d_in, at.d_out)
        self.at, self.device = at, device
        self.features = max(1, min(at.d_dict, _FEATURES // width))
        self.share = self.features / at.d_dict
        self.active = max(1, round(min(at.active, self.features / 2)))
        rows = min(at.batch_size, _ROWS // width, max(64, _ENTRIES // (self.active * width)))
        self.rows = max(1, rows)
        self.generator = torch.Generator().manual_seed(0)
        self.encoder_weight = self._random(self.features, at.d_in) / at.d_in**0.5
        self.decoder = self._random(self.features, at.d_out)
        self.bias = torch.zeros(self.features, device=device)
        self.x = self._random(self.rows, at.d_in)
        self.d_out = self._random(self.rows, at.d_out)

    def _random(self, *size: int) -> Tensor:
        return torch.randn(size, generator=self.generator).to(self.device)

    def _seconds(self, work: Callable[[], Any]) -> float:
        """Median time of a run, over some series of them that are long enough to be timed."""
        work()  # compiles what it needs
        count = max(1, round(_LEAST_SECONDS / max(self._time(work, 1), 1e-7)))
        return statistics.median(self._time(work, count) for _ in range(_REPEATS)) / count

    def _time(self, work: Callable[[], Any], count: int) -> float:
        self._wait()
        began = time.perf_counter()
        for _ in range(count):
            work()
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def encoder(self) -> dict[str, float]:
        """The product, chunk by chunk, and what is looked for in a chunk."""
        at, width = self.at, self.features
        encoder = Encoder(at.d_dict)
        dtype = torch.bfloat16 if at.half else torch.float32
        # A whole chunk, as in a step: of fewer rows the product is slower.
        most = self.rows if self.device.type == "cuda" else chunk_rows(at.d_dict, dtype)
        rows = min(self.rows, most)
        x, weight, bias = (t.to(dtype) for t in (self.x[:rows], self.encoder_weight, self.bias))

        def product() -> None:
            for _ in encoder.chunks(x, weight, bias):
                pass

        seconds = self._seconds(product)
        part, pre = next(encoder.chunks(x, weight, bias))
        none, low = self.bias.new_full((1,), float("inf")), self.bias.new_zeros(1)
        found = {"product": 2 * len(x) * width * at.d_in / seconds}
        if at.half:
            top = TopSlots(self.x[: len(pre)], self.active)
            code, exact = top.code, self.x[: len(pre)]
            looked = self._seconds(
                lambda: select_half(
                    pre,
                    exact,
                    self.encoder_weight,
                    self.bias,
                    CANDIDATES * self.active,
                    code.indices,
                    code.values,
                )
            )
            found["scan_top"] = pre.numel() / looked
        else:
            top = TopSlots(pre, self.active)
            found["scan_top"] = pre.numel() / self._seconds(lambda: top.add(part, pre))
        times = max(1, _TAKEN // pre.numel())

        def collect() -> None:
            above = Above(low)
            for _ in range(times):
                above.add(pre)
            above.code()

        looked = self._seconds(lambda: Above(none).add(pre))
        taken = max(self._seconds(collect) - times * looked, 0.01 * times * looked)
        found |= {"scan_above": pre.numel() / looked, "collect": times * pre.numel() / 2 / taken}
        return {**found, **self._dead(part, pre.float())}

    def _dead(self, part: slice, pre: Tensor) -> dict[str, float]:
        """What is done for the dead features of a chunk."""
        at, width = self.at, self.features
        dead = torch.randperm(width, generator=self.generator)
        dead = dead[: max(1, round(at.num_dead * self.share))].sort().values.to(self.device)
        k = min(max(1, at.aux_k), len(dead))
        if at.dense:
            values = pre[:, dead]
            scan = self._seconds(lambda: keep_top(values.copy_(pre[:, dead]), k))
        else:
            among = TopSlots(pre, k, dead)
            scan = self._seconds(lambda: among.add(part, pre))
        dtype = torch.bfloat16 if at.half else torch.float32
        code, rows = pre[:, dead].to(dtype), self.decoder[dead].to(dtype)
        product = self._seconds(lambda: code @ rows)
        return {
            "scan_dead": len(pre) * len(dead) / scan,
            "dead_product": 2 * len(pre) * rows.numel() / product,
        }

    def codes(self) -> dict[str, float]:
        """Decoding, and the gradient of values."""
        self.code = self._code()
        numbers = len(self.code.values) * self.at.d_out
        grad = self.d_out
        decode = self._seconds(lambda: kernels.decode(self.code, self.decoder))
        value = self._seconds(lambda: kernels.value_gradients(self.code, self.decoder, grad))
        both = self._seconds(
            lambda: kernels.reconstruct(self.code, self.decoder, grad[0], self.d_out)
        )
        return {
            "decode": numbers / decode,
            "reconstruct": numbers / both,
            "value_gradients": numbers / value,
        }

    def _code(self) -> RaggedCode:
        """Positive values at random features; ascending in each row where rows have no slots."""
        shape = self.rows, self.active
        chosen = torch.randint(self.features, shape, generator=self.generator).to(self.device)
        if not self.at.slots:
            chosen = chosen.sort(1).values
        indptr = torch.arange(self.rows + 1, device=self.device) * self.active
        values = self._random(*shape).abs() + 0.1
        return RaggedCode(indptr, chosen.reshape(-1), values.reshape(-1))

    def selection(self) -> dict[str, float]:
        """What is chosen among entries, and what is looked up or summed up for them."""
        code = self.code
        total = len(code.values)
        wanted = max(1, total // 3)

        def choose() -> None:
            largest(code, Ranks().border(code.values, wanted), wanted)

        width = min(self.active * self.at.num_shards, 4096)
        table = code.values[: total // width * width].reshape(-1, width)
        by_feature = self.bias.clone()
        return {
            "border": total / self._seconds(choose),
            "sort": table.numel()
            / self._seconds(lambda: table.sort(dim=1, descending=True, stable=True)),
            "gather": total / self._seconds(lambda: self.bias[code.indices]),
            "scatter": total
            / self._seconds(lambda: by_feature.index_add_(0, code.indices, code.values)),
        }

    def gradients(self) -> dict[str, float]:
        """Weight gradients: what is written without any entry, and what each entry adds."""
        none = RaggedCode(
            torch.zeros_like(self.code.indptr), self.code.indices[:0], self.code.values[:0]
        )
        storage = None

        def run(code: RaggedCode) -> Callable[[], None]:
            given = CodeGradient(code, code.values, self.d_out)

            def work() -> None:
                nonlocal storage
                storage = kernels.weight_gradients(
                    [given], self.x, self.decoder, project=True, out=storage
                )

            return work

        both = self.at.d_in + self.at.d_out
        empty = self._seconds(run(none))
        full = self._seconds(run(self.code))
        return {
            "weight_rows": self.features * both / empty,
            "weight_gradients": len(self.code.values) * both / max(full - empty, 0.01 * full),
        }

    def streams(self) -> dict[str, float]:
        """Adam, and an operation on batches, over more than any cache holds."""
        width = self.at.d_out
        size = max(1, _ADAM // width), width
        weight, gradient, mean, square = (torch.zeros(size, device=self.device) for _ in range(4))
        step = AdamStep(step=1, lr=1e-3)
        adam = self._seconds(
            lambda: kernels.adam(weight, gradient, mean, square, step, unit_rows=True)
        )
        shift = self.d_out[0].clone()
        held = self.d_out.nbytes
        batches = [self.d_out.clone() for _ in range(max(2, _CACHE // held))]
        dense = self._seconds(lambda: [batch - shift for batch in batches]) / len(batches)
        return {"adam": weight.numel() / adam, "dense": 2 * held / dense}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
