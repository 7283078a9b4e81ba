"""Communication between the processes of one distributed training run.

1. Processes form a mesh, data × features. Those along "features" see the same rows and hold
   different features; those along "data" hold the same features and see different rows.
2. Process r of R along "features" holds the features r·m/R to (r+1)·m/R; process s of S along
   "data" sees the rows s, s + S, s + 2S, ... of every batch.
3. Which entries are active is exact across shards: the k largest of a row are chosen among the k
   largest of each shard; the count largest of a batch by bisection over the bits of the threshold
   (positive floats are ordered as their bits are), with one all-reduced count per bit.
4. A source of activations that runs a model may divide the forward passes among all processes:
   each one broadcasts the activations it computed to the others.

All collectives of a process are issued by one thread, in the same order on every process. A single
process communicates with nobody: every collective is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import InputError, PeerError
from inscape.dictionary import Code

WHOLE = ("b_dec", "W_skip")
"""Parameters with no feature axis: replicated on every process."""


def nth_largest(values: Float[Tensor, " entries"], count: int) -> float:
    """The count-th largest value (counted from 1), found without a sort, on the values' device."""
    place = len(values) - count
    if values.device.type != "cpu":
        return float(values.kthvalue(place + 1).values)
    return float(np.partition(values.detach().cpu().numpy(), place)[place])


def data_processes(processes: int, num_features: int) -> int:
    """How many processes share the rows, where `num_features` share the features.

    Raises:
        InputError: the processes are not a multiple of these.
    """
    if num_features < 1 or processes % num_features:
        raise InputError(
            f"{processes} processes cannot share the features {num_features} ways",
            expected=f"a number that {processes} is a multiple of",
        )
    return processes // num_features


class Ranks:
    """A single process; `Mesh` is the distributed subclass.

    Attributes:
        num_data, num_features: processes along each axis. data_rank, feature_rank: the coordinates
            of this one. device: where it trains.
    """

    num_data = num_features = 1
    data_rank = feature_rank = 0
    device = "cpu"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    @property
    def count(self) -> int:
        """How many processes there are."""
        return self.num_data * self.num_features

    @property
    def number(self) -> int:
        """The global rank of this process."""
        return self.data_rank * self.num_features + self.feature_rank

    @property
    def first(self) -> bool:
        """Whether this is the process that logs and writes for all."""
        return self.data_rank == self.feature_rank == 0

    def check(self, d_dict: int, batch_size: int | None = None) -> None:
        """Refuse sizes that cannot be divided evenly.

        Raises:
            InputError: features or rows are not a multiple of the processes that share them.
        """
        if d_dict % self.num_features:
            raise InputError(
                f"{d_dict} features cannot be shared {self.num_features} ways",
                expected=f"a multiple of {self.num_features}",
            )
        if batch_size is not None and batch_size % self.num_data:
            raise InputError(
                f"a batch of {batch_size} tokens cannot be shared by {self.num_data} processes",
                expected=f"a multiple of {self.num_data}",
            )

    @property
    def part(self) -> slice:
        """The rows of a batch that this process sees, as a slice."""
        return slice(self.data_rank, None, self.num_data)

    def shard(self, d_dict: int) -> slice:
        """The features that this process holds."""
        size = d_dict // self.num_features
        return slice(self.feature_rank * size, (self.feature_rank + 1) * size)

    def over_data(self, tensor: Tensor) -> Tensor:
        """All-reduce (sum) along the data axis."""
        return tensor

    def over_features(self, tensor: Tensor) -> Tensor:
        """All-reduce (sum) along the feature axis."""
        return tensor

    def over_all(self, tensor: Tensor) -> Tensor:
        """All-reduce (sum) over all processes."""
        return tensor

    def num_over_features(self, count: int) -> int:
        """The sum of a number along the feature axis."""
        return count

    def broadcast(self, tensor: Tensor, owner: int) -> Tensor:
        """Broadcast the tensor of process `owner` to all processes, in place."""
        return tensor

    def meet(self) -> None:
        """A barrier over all processes."""

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process has it set."""
        return flags

    def least(self, value: float) -> float:
        """The minimum over all processes."""
        return value

    def gathered(self, own: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Every parameter gathered in full on the first process; None on the others."""
        return dict(own)

    def sharded(self, own: Tensor) -> Tensor:
        """This process's feature rows as a DTensor shard of the whole parameter, without a
        copy."""
        return own

    def top(self, code: Code) -> Code:
        """Keep in each row only the slots among the k largest over all shards; empty the rest."""
        return code

    def border(self, values: Float[Tensor, " entries"], count: int) -> float:
        """The count-th largest positive value over all processes; 0 if there are fewer."""
        return max(nth_largest(values, count), 0.0) if len(values) >= count else 0.0


@contextmanager
def peers() -> Iterator[None]:
    """Report communication errors as what they usually mean: another process has ended.

    Raises:
        PeerError: in place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        first = str(error).partition("\n")[0].rpartition("] ")[2].partition(". ")[0]
        raise PeerError(
            f"another process has ended, or cannot be reached ({first})",
            next_step="run the same command again: it goes on from the last checkpoint",
        ) from error


class Mesh(Ranks):
    """The processes of an initialised torch.distributed group.

    Args:
        num_features: processes along the feature axis; the rest is the data axis.

    Raises:
        InputError: the number of processes is not a multiple of it.
    """

    def __init__(self, num_features: int = 1, *, device: str = "cpu") -> None:
        from torch import distributed
        from torch.distributed.device_mesh import init_device_mesh

        num_data = data_processes(distributed.get_world_size(), num_features)
        self._distributed: Any = distributed
        super().__init__(device)
        with peers():
            self.mesh = init_device_mesh(
                device, (num_data, num_features), mesh_dim_names=("data", "features")
            )
        self.num_data, self.num_features = self.mesh.shape
        self.data_rank, self.feature_rank = self.mesh.get_coordinate() or (0, 0)
        self._data, self._features = (self.mesh.get_group(n) for n in ("data", "features"))

    def over_data(self, tensor: Tensor) -> Tensor:
        if self.num_data > 1:
            self._reduce(tensor, group=self._data)
        return tensor

    def over_features(self, tensor: Tensor) -> Tensor:
        if self.num_features > 1:
            self._reduce(tensor, group=self._features)
        return tensor

    def over_all(self, tensor: Tensor) -> Tensor:
        return self._reduce(tensor)

    def num_over_features(self, count: int) -> int:
        return int(self.over_features(torch.tensor(count, device=self.device)))

    def meet(self) -> None:
        self.any(False)

    def broadcast(self, tensor: Tensor, owner: int) -> Tensor:
        with peers():
            self._distributed.broadcast(tensor, src=owner)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        found = self._reduce(torch.tensor(flags, dtype=torch.int32, device=self.device))
        return tuple(bool(number) for number in found)

    def least(self, value: float) -> float:
        found = torch.tensor(-value, dtype=torch.float64, device=self.device)
        return -float(self._reduce(found, self._distributed.ReduceOp.MAX))

    def gathered(self, own: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        if self.data_rank:
            return None  # data rank 0 holds the same
        found = {}
        for key in sorted(own):
            shard = own[key].contiguous()
            if key in WHOLE or self.num_features == 1:
                found[key] = shard
                continue
            count = self.num_features if self.first else 0
            parts = [torch.empty_like(shard) for _ in range(count)]
            with peers():
                self._distributed.gather(shard, parts or None, group=self._features, group_dst=0)
            if parts:
                found[key] = torch.cat(parts)
        return found if self.first else None

    def sharded(self, own: Tensor) -> Tensor:
        from torch.distributed.tensor import DTensor, Replicate, Shard

        return DTensor.from_local(own, self.mesh, [Replicate(), Shard(0)], run_check=False)

    def _reduce(self, tensor: Tensor, *operation: Any, **group: Any) -> Tensor:
        """All-reduce in place: a sum unless another operation is given."""
        with peers():
            self._distributed.all_reduce(tensor, *operation, **group)
        return tensor

    def top(self, code: Code) -> Code:
        if self.num_features == 1:
            return code
        k = code.values.shape[1]
        parts = [torch.empty_like(code.values) for _ in range(self.num_features)]
        with peers():
            self._distributed.all_gather(parts, code.values.contiguous(), group=self._features)
        _, order = torch.cat(parts, 1).sort(dim=1, descending=True, stable=True)
        chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :k], True)
        own = chosen[:, self.feature_rank * k : (self.feature_rank + 1) * k]
        return Code(torch.where(own, code.indices, 0), torch.where(own, code.values, 0.0))

    def border(self, values: Float[Tensor, " entries"], count: int) -> float:
        bits = values.float().contiguous().view(torch.int32)  # below 0 where the value is
        found = torch.zeros((), dtype=torch.int32, device=bits.device)
        for power in range(30, -1, -1):
            guess = found + (1 << power)
            reached = self.over_all((bits >= guess).sum()) >= count
            found = torch.where(reached, guess, found)
        return float(found.view(torch.float32))
