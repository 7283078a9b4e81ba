"""What a variant of dictionary says to training, and the default: nothing beyond reconstruction.

A step of training (see `trainer`) asks its variant, in this order:

1. `select`: which entries of the batch are active, and with what values.
2. `groups`: whether features belong to nested prefixes, each with a reconstruction of its own.
3. `penalise`: given the gradient of the reconstruction for every entry, what the variant's own
   terms add to the loss and to its gradients.
4. `advance`, once the step is accepted: its running figures.
5. `finish`, at the end: the dictionary's kind, and the threshold that it works with from then on.

All losses are in units of the fraction of variance unexplained: a penalty that its paper adds to
the mean squared error is divided by the variance of what is predicted. A variant of another package
is a subclass that its entry point in the group `inscape.variants` names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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
    """A batch as the encoder sees it: `x` [batch, d_in] after any subtraction; `dead` features, of
    which the `aux_k` largest entries of each row are wanted too; `ranks`: the processes that share
    the work, of which this one holds some rows and some features; `dense`: whether the dead
    features' code may be a dense matrix."""

    x: Float[Tensor, "batch d_in"]
    dead: Int[Tensor, " num_dead"]
    aux_k: int
    ranks: Ranks = field(default_factory=Ranks)
    dense: bool = True


@dataclass(frozen=True)
class Selected:
    """The active entries of a batch.

    code: with values > 0 where active (entries of value 0 are there for the variant's own use).
    dead: the largest entries among the dead features, None without any. own: what the variant's
    later steps need.
    """

    code: RaggedCode
    dead: RaggedCode | DenseCode | None = None
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reconstruction:
    """What the entries made of the batch.

    y: what the features were to predict (without what a skip does). d_out [groups * batch, d_out]:
    gradient for the decoded output. d_values [entries]: gradient for the values of the active
    entries. variance: mean squared distance of the target from its mean. batch, l0: rows, and mean
    number of active features, over all processes. progress: share of the run that is over.
    groups: the variant's, of the features that this process holds.
    """

    y: Float[Tensor, "batch d_out"]
    d_out: Float[Tensor, "groups_batch d_out"]
    d_values: Float[Tensor, " entries"]
    variance: float
    batch: int
    l0: float
    progress: float
    groups: Int[Tensor, " d_dict"] | None = None
    ranks: Ranks = field(default_factory=Ranks)


@dataclass(frozen=True)
class Penalty:
    """What a variant adds: to the loss, and to its gradients.

    codes: what flows through the encoder. loss: of this process's rows and features; row_loss: of
    its rows, alike for all features; whole_loss: alike for all processes. terms: what is added to
    whole weight rows. gradients: of the variant's own parameters. bias [d_dict]: added to the
    gradient of b_enc alone, which is else the sum over the entries.
    """

    codes: list[CodeGradient]
    loss: float = 0.0
    row_loss: float = 0.0
    whole_loss: float = 0.0
    terms: RowTerms | None = None
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    bias: Float[Tensor, " d_dict"] | None = None


class Variant(ABC):
    """One kind of dictionary, as training makes it.

    Args:
        shape: the dictionary's; its k is the number of active features per row that is aimed at.
        options: the variant's own settings. num_steps: the length of the run.

    Attributes:
        name: what it is called. Options: the class of its settings. beta1: of Adam. state: running
            figures, part of every checkpoint. wiring: how codes are decoded.
    """

    name: ClassVar[str]
    Options: ClassVar[type[Options]] = Options
    beta1: ClassVar[float] = 0.9
    aux_weight: ClassVar[float] = 1 / 32
    """The default weight of the auxiliary loss."""
    half: ClassVar[bool] = False
    """Whether it knows an encoder whose product is made in bf16."""
    near_tokens: ClassVar[bool] = False
    """Whether short trainings of autoencoders begin near tokens (`TrainConfig.from_data`)."""

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        self.shape, self.options, self.num_steps = shape, options, num_steps
        self.wiring = shape.wiring
        self.state: dict[str, Tensor] = {}

    @property
    def target(self) -> int:
        """The number of active features per row that is aimed at."""
        assert self.shape.k is not None  # training always states it
        return self.shape.k

    @property
    def unit_decoder(self) -> bool:
        """Whether decoder rows are held at unit norm: those of autoencoders."""
        return not self.shape.transcoder

    @property
    def groups(self) -> Int[Tensor, " d_dict"] | None:
        """The group of each feature, where prefixes have reconstructions of their own."""
        return None

    def initial(self, weights: Weights, scale: float) -> dict[str, Tensor]:
        """The variant's own parameters at the start; `scale` is the mean norm of what is read."""
        return {}

    def started(self, pre: Float[Tensor, "rows features"]) -> dict[str, float]:
        """What those of them that follow from the data begin with, alike for all features, given
        pre-activations of some tokens and features at the start."""
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
        """Take note of an accepted step; `weights` may be put back into their bounds."""

    @abstractmethod
    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """The kind of the finished dictionary, and its weights (with "threshold" for that kind)."""


DENSE = 8
"""The dead features' code is a dense matrix where it has at most so many features for each entry of
a row that is wanted: matrix products are much faster than gathered rows. The border itself was not
looked for by timings."""


class Dead:
    """The largest entries of each row among the dead features, chunk by chunk; none without any.

    With `half` the features' own product is made, in bf16, instead of reading their columns of the
    chunks.
    """

    def __init__(self, rows: Rows, *, half: bool = False) -> None:
        self.rows, self.half = rows, half
        total = int(rows.ranks.over_features(torch.tensor(len(rows.dead), device=rows.dead.device)))
        self.width = min(rows.aux_k, total)
        dense = rows.dense and rows.ranks.num_features == 1
        dense = dense and 0 < total <= DENSE * self.width
        self.values = rows.x.new_empty((len(rows.x), total)) if dense else None
        self.slots = None
        if self.width and not dense:
            self.slots = TopSlots(rows.x, self.width, None if half else rows.dead)

    def add(self, part: slice, pre: Float[Tensor, "rows d_dict"]) -> None:
        """Take the next chunk."""
        if self.values is not None:
            torch.index_select(pre, 1, self.rows.dead, out=self.values[part])
        elif self.slots is not None:
            self.slots.add(part, pre)

    def product(self, weights: Weights) -> None:
        """Take all rows at once, of a product of the dead features alone."""
        x, dead = self.rows.x, self.rows.dead
        if self.values is not None:
            low = x.bfloat16() @ weights["W_enc"][dead].bfloat16().T
            torch.add(low, weights["b_enc"][dead], out=self.values)
        elif self.slots is not None:
            own = weights["W_enc"][dead], weights["b_enc"][dead]
            for part, pre in Encoder().chunks(x, *own):
                self.slots.add(part, pre)

    def code(self) -> RaggedCode | DenseCode | None:
        """What was found, None without dead features."""
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
    bound: Float[Tensor, " d_dict_or_one"],
    *,
    half: bool = False,
) -> tuple[RaggedCode, RaggedCode | DenseCode | None]:
    """The entries whose pre-activation is above a bound, and those of the dead features; `half`:
    found by a product in bf16 (no bound is negative then)."""
    read = rows.x, weights["W_enc"], weights["b_enc"]
    found, dead = Above(bound, read if half else None), Dead(rows, half=half)
    for part, pre in encoder.halves(*read) if half else encoder.chunks(*read):
        found.add(pre)
        if not half:
            dead.add(part, pre)
    if half:
        dead.product(weights)
    return found.code(), dead.code()


def by_feature(code: RaggedCode, amount: Float[Tensor, " entries"], weights: Weights) -> Tensor:
    """Sums over the entries of each feature, [d_dict]."""
    return amount.new_zeros(len(weights["b_enc"])).index_add_(0, code.indices, amount)
