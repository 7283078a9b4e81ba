"""The interface of a dictionary variant; the default adds nothing beyond reconstruction.

A training step (see `trainer`) calls its variant in this order:

1. `select`: which entries of the batch are active, and with what values.
2. `groups`: whether features belong to nested prefixes, each with a reconstruction of its own.
3. `penalise`: given the reconstruction gradient of every entry, what the variant's own terms add to
   the loss and to its gradients.
4. `advance`, once the step is accepted: updates its running statistics.
5. `finish`, at the end: the dictionary's kind, and the threshold that it uses at inference.

All losses are in units of the fraction of variance unexplained: a penalty that its paper adds to
the mean squared error is divided by the variance of the target. A package adds a variant as a
subclass named by an entry point in the group `inscape.variants`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import Config
from inscape.dictionary import (
    Above,
    Code,
    DenseCode,
    DictionaryConfig,
    Encoder,
    RaggedCode,
    TopSlots,
)
from inscape.dictionary.kernels import CodeGradient, RowTerms, keep_top
from inscape.training.ranks import Ranks

Weights = Mapping[str, Tensor]


class Options(Config):
    """The settings of a variant beyond size and sparsity: none by default."""


@dataclass(frozen=True)
class Rows:
    """A batch as the encoder sees it: `x` [batch, d_in] after any subtraction; `dead`: features
    whose `aux_k` largest entries per row are selected too; `ranks`: the processes that share the
    work, of which this one holds some rows and some features; `dense`: whether the dead features'
    code may be a dense matrix."""

    x: Float[Tensor, "batch d_in"]
    dead: Int[Tensor, " num_dead"]
    aux_k: int
    ranks: Ranks = field(default_factory=Ranks)
    dense: bool = True


@dataclass(frozen=True)
class Selected:
    """The active entries of a batch.

    code: with values > 0 where active (entries of value 0 are for the variant's own use). dead: the
    largest entries among the dead features, None without any. own: data for the variant's later
    steps.
    """

    code: RaggedCode
    dead: RaggedCode | DenseCode | None = None
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reconstruction:
    """The reconstruction of a batch and its gradients.

    y: the target of the features (minus the output of a skip). d_out [groups * batch, d_out]:
    gradient of the decoded output. d_values [entries]: gradient of the values of the active
    entries. variance: mean squared distance of the target from its mean. batch, l0: rows, and mean
    number of active features, over all processes. Both variance and l0 are float64, on the device.
    progress: elapsed fraction of the run. groups: the variant's, of the features that this process
    holds.
    """

    y: Float[Tensor, "batch d_out"]
    d_out: Float[Tensor, "groups_batch d_out"]
    d_values: Float[Tensor, " entries"]
    variance: Float[Tensor, ""]
    batch: int
    l0: Float[Tensor, ""]
    progress: float
    groups: Int[Tensor, " d_dict"] | None = None
    ranks: Ranks = field(default_factory=Ranks)


@dataclass(frozen=True)
class Penalty:
    """What a variant adds to the loss and to its gradients.

    codes: gradients to backpropagate through the encoder. loss: over all processes, in float64.
    terms: added to whole weight rows. gradients: of the variant's own parameters. bias [d_dict]:
    added to the gradient of b_enc alone, otherwise the sum over the entries.
    """

    codes: list[CodeGradient]
    loss: float | Tensor = 0.0
    terms: RowTerms | None = None
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    bias: Float[Tensor, " d_dict"] | None = None


class Variant(ABC):
    """One kind of dictionary, as it is trained.

    Args:
        shape: of the dictionary; its k is the target number of active features per row.
        options: the variant's own settings. num_steps: the length of the run.

    Attributes:
        name: used in configs. Options: the class of its settings. beta1: of Adam. state: running
            statistics, part of every checkpoint. wiring: how codes are decoded.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    beta1: ClassVar[float] = 0.9
    aux_weight: ClassVar[float] = 1 / 32
    """The default weight of the auxiliary loss."""
    half: ClassVar[bool] = False
    """Whether it supports an encoder matmul in bf16."""
    near_tokens: ClassVar[bool] = False
    """Whether short runs of autoencoders start near tokens (`TrainConfig.from_data`)."""

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        self.shape, self.options, self.num_steps = shape, options, num_steps
        self.wiring = shape.wiring
        self.state: dict[str, Tensor] = {}

    @property
    def target(self) -> int:
        """The target number of active features per row."""
        assert self.shape.k is not None  # training always sets it
        return self.shape.k

    @property
    def unit_decoder(self) -> bool:
        """Whether decoder rows are kept at unit norm, as for autoencoders."""
        return not self.shape.transcoder

    @property
    def groups(self) -> Int[Tensor, " d_dict"] | None:
        """The group of each feature, if prefixes have reconstructions of their own."""
        return None

    def initial(self, weights: Weights, scale: float) -> dict[str, Tensor]:
        """The variant's own initial parameters; `scale` is the mean norm of the input."""
        return {}

    def started(self, pre: Float[Tensor, "rows features"]) -> dict[str, float]:
        """Data-dependent initial values of some of them, equal for all features, given the initial
        pre-activations of some tokens and features."""
        return {}

    @abstractmethod
    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """The active entries of a batch."""

    def penalise(self, selected: Selected, found: Reconstruction, weights: Weights) -> Penalty:
        """The variant's own terms."""
        return Penalty([CodeGradient(selected.code, found.d_values, found.d_out, found.groups)])

    def advance(  # noqa: B027
        self, selected: Selected, weights: Weights, progress: float, l0: float
    ) -> None:
        """Update the state after an accepted step; `weights` may be clamped to their bounds."""

    @abstractmethod
    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """The kind of the finished dictionary, and its weights (with "threshold" for that kind)."""


DENSE = 8
"""The dead features' code is a dense matrix with at most this many dead features per selected entry
of a row: matmuls are much faster than gathered rows. The cut-off itself was not tuned by
timings."""


class Dead:
    """The largest entries of each row among the dead features, chunk by chunk; none without any.

    With `half` they are computed by a separate bf16 matmul of these features, instead of read from
    the chunks' columns.
    """

    def __init__(self, rows: Rows, *, half: bool = False) -> None:
        self.rows, self.half = rows, half
        total = rows.ranks.num_over_features(len(rows.dead))
        self.width = min(rows.aux_k, total)
        dense = rows.dense and rows.ranks.num_features == 1
        dense = dense and 0 < total <= DENSE * self.width
        self.values = rows.x.new_empty((len(rows.x), total)) if dense else None
        self.slots = None
        if self.width and not dense:
            self.slots = TopSlots(rows.x, self.width, None if half else rows.dead)

    def add(self, part: slice, pre: Float[Tensor, "rows d_dict"]) -> None:
        """Process the next chunk."""
        if self.values is not None:
            torch.index_select(pre, 1, self.rows.dead, out=self.values[part])
        elif self.slots is not None:
            self.slots.add(part, pre)

    def product(self, weights: Weights) -> None:
        """Process all rows at once, from a matmul of the dead features alone."""
        x, dead = self.rows.x, self.rows.dead
        if self.values is not None:
            low = x.bfloat16() @ weights["W_enc"][dead].bfloat16().T
            torch.add(low, weights["b_enc"][dead], out=self.values)
        elif self.slots is not None:
            own = weights["W_enc"][dead], weights["b_enc"][dead]
            for part, pre in Encoder().chunks(x, *own):
                self.slots.add(part, pre)

    def code(self) -> RaggedCode | DenseCode | None:
        """The result, None without dead features."""
        if self.values is not None:
            return DenseCode(self.rows.dead, keep_top(self.values, self.width))
        if self.slots is None:
            return None
        code = self.slots.code
        if self.half and len(self.rows.dead):
            chosen = torch.where(code.values > 0, self.rows.dead[code.indices], 0)
            code = Code(chosen, code.values)
        return self.rows.ranks.top(code).ragged()


def above(
    encoder: Encoder,
    rows: Rows,
    weights: Weights,
    bound: Float[Tensor, " d_dict_or_one"] | Callable[[Tensor], Tensor],
    *,
    half: bool = False,
) -> tuple[RaggedCode, RaggedCode | DenseCode | None]:
    """The entries whose pre-activation is above a bound, and those of the dead features.

    Args:
        bound: given, or computed from the first chunk of pre-activations.
        half: preselect by a bf16 matmul (then no bound is negative).
    """
    read = rows.x, weights["W_enc"], weights["b_enc"]
    found, dead = None, Dead(rows, half=half)
    for part, pre in encoder.halves(*read) if half else encoder.chunks(*read):
        if found is None:
            found = Above(bound(pre) if callable(bound) else bound, read if half else None)
        found.add(pre)
        if not half:
            dead.add(part, pre)
    if half:
        dead.product(weights)
    assert found is not None  # a batch has rows
    return found.code(), dead.code()


def by_feature(code: RaggedCode, amount: Float[Tensor, " entries"], weights: Weights) -> Tensor:
    """Sums over the entries of each feature, [d_dict]."""
    return amount.new_zeros(len(weights["b_enc"])).index_add_(0, code.indices, amount)
