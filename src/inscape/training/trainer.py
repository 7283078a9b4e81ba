"""One training step of a dictionary, with exact gradients and no dense code.

1. Encode: the variant selects the active entries of the batch, and the aux_k largest entries of
   each row among the dead features.
2. Loss = |y - y^|^2 / |y - mean y|^2, sums over the batch: the fraction of variance unexplained.
   With nested groups of features it is summed over the prefixes. With several sites, which `view`
   scales to equal variance, it is the mean over the sites, and each site's own is logged as well.
3. Auxiliary loss: the dead features' code decodes (without b_dec: y^ includes it) to e^, which is
   to reconstruct the error e = y - y^ (detached): |e - e^|^2 / |e - mean e|^2, zero where there
   is no error.
4. The variant adds its penalty. Gradients flow back through the decodes to the entries, and from
   there to encoder and b_dec; where the encoder subtracts b_dec, b_dec also receives
   -(sum of pre-activation gradients) @ W_enc. The gradient of a skip is d_out^T x.
5. Unit decoder rows: the gradient along them is removed, and they are normalised after the update.
   The global gradient norm is clipped, then Adam.
6. On a GPU the numbers of a step stay on the device, in float64, until all are known: one transfer
   brings them to the host, which waits for the GPU there and where the number of active entries is
   not fixed beforehand, nowhere else.

Method: Gao et al. 2024, "Scaling and evaluating sparse autoencoders"; transcoders as in Dunefsky
et al. 2024; each variant names its own source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import DataError, InputError, instance_of, seeded
from inscape.dictionary import DenseCode, DictionaryConfig, Encoder, RaggedCode, kernels
from inscape.dictionary.kernels import AdamStep, CodeGradient, RowBlock, WeightGradients
from inscape.training import resampling
from inscape.training.config import TrainConfig, uses_half
from inscape.training.ranks import WHOLE, Ranks
from inscape.training.variants import Penalty, Reconstruction, Rows, Selected, Variant

_TINY = 1e-12


@dataclass(frozen=True)
class StepMetrics:
    """Metrics of one batch.

    loss: with penalty and auxiliary loss. fvu: |y - y^|^2 / |y - mean y|^2. explained_variance:
    centred, 1 - Var(y - y^) / Var(y). l0: mean number of active features. aux_loss: unweighted, 0
    without dead features. penalty: what the variant added to the loss. site_fvu: the FVU by site,
    if there are several.
    """

    loss: float
    fvu: float
    explained_variance: float
    l0: float
    aux_loss: float
    penalty: float = 0.0
    site_fvu: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Gradients:
    """Gradients by parameter name, their global norm, and the selected entries."""

    of: dict[str, Tensor]
    norm: float
    selected: Selected


class Trainer:
    """The state of a training run: weights, moments, and how long each feature has been silent.

    Attributes:
        weights, mean, square: tensors by parameter name (weights and Adam's moments).
        silent_tokens [d_dict]: tokens since the feature last fired.
        variant: what is trained. num_steps: steps taken.

    Trainers that alternate may share `scratch`, the buffers of a step's gradients.
    """

    def __init__(
        self,
        shape: DictionaryConfig,
        config: TrainConfig,
        weights: dict[str, Tensor],
        ranks: Ranks | None = None,
        scratch: dict[Any, WeightGradients] | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.ranks.check(shape.d_dict)
        if shape.cross_layer and self.ranks.num_features > 1:
            raise InputError(
                "a cross-layer transcoder's features cannot be shared among processes",
                expected="processes that share the rows alone",
            )
        resampling.check(config, shape, self.ranks)
        self.shape = shape
        self.config = config
        self.variant: Variant = config.make_variant(shape)
        self._wiring = shape.wiring
        scale = math.sqrt(shape.shapes()["W_enc"][1])  # what a feature reads has this mean norm
        if shape.skip:
            skip = weights["W_dec"].new_zeros((shape.d_out, shape.d_in))
            weights = {"W_skip": skip, **weights}
        weights = {**self.variant.initial(weights, scale), **weights}
        self.weights = {key: self._own(key, weights[key]) for key in sorted(weights)}
        self.mean = {key: torch.zeros_like(value) for key, value in self.weights.items()}
        self.square = {key: torch.zeros_like(value) for key, value in self.weights.items()}
        self.silent_tokens = torch.zeros(
            len(self.weights["b_enc"]), dtype=torch.int64, device=self.weights["W_enc"].device
        )
        groups = self.variant.groups
        self._groups = None
        if groups is not None:
            self._groups = groups[self.ranks.shard(shape.d_dict)].to(self.ranks.device)
        self.num_steps = 0
        self._encoder = Encoder(half=uses_half(config, shape, self.silent_tokens.device))
        self._scratch: dict[Any, WeightGradients] = {} if scratch is None else scratch
        self._size = self.weights["W_enc"].shape, self.weights["W_dec"].shape

    def _own(self, key: str, whole: Tensor) -> Tensor:
        """This process's shard of a parameter, unless it is one already; parameters without a
        feature axis are returned whole."""
        if self.ranks.num_features == 1 or key in WHOLE or len(whole) < self.shape.d_dict:
            return whole.contiguous()
        return whole[self.ranks.shard(self.shape.d_dict)].clone()  # frees the rest

    def num_dead(self) -> int:
        """How many features are dead, over all processes; a collective call."""
        return int(self.ranks.over_features((self.silent_tokens >= self.config.dead_window).sum()))

    @property
    def dead(self) -> Int[Tensor, " num_dead"]:
        """Features that have been silent for the dead window."""
        return torch.nonzero(self.silent_tokens >= self.config.dead_window).flatten()

    @torch.no_grad()
    def loss_and_gradients(
        self,
        x: Float[Tensor, "batch d_in"],
        y: Float[Tensor, "batch d_out"],
        *,
        dead: Int[Tensor, " num_dead"] | None = None,
    ) -> tuple[StepMetrics, Gradients]:
        """The loss of a batch and its exact gradients, auxiliary loss included.

        Args:
            x, y: scaled input and target (the same for an autoencoder): the rows of this process.
            dead: features for the auxiliary loss; by default the currently dead ones.

        The gradients are held in storage that the next call reuses.
        """
        for values, width, what in ((x, self.shape.d_in, "input"), (y, self.shape.d_out, "target")):
            instance_of(Tensor, values, f"a batch's {what}", f"a tensor [batch, {width}]")
            if values.ndim != 2 or values.shape[1] != width or len(values) != len(x):
                raise InputError(
                    f"a batch's {what} of shape {tuple(values.shape)}",
                    expected=f"[batch, {width}], as many rows for input and target",
                )
        weights, ranks = self.weights, self.ranks
        inner = x - weights["b_dec"] if self.shape.subtract_b_dec else x
        if dead is None:
            dead = self.dead if self.aux_k else self.silent_tokens[:0]
        rows = Rows(inner, dead, self.aux_k, ranks, dense=not self.shape.cross_layer)
        selected = self.variant.select(self._encoder, rows, weights)
        batch = len(x) * ranks.num_data
        l0 = ranks.over_all((selected.code.values > 0).sum().double()) / batch
        rest = y - x @ weights["W_skip"].T if self.shape.skip else y
        spread = self._spread(y)
        errors, d_outs, d_values = self._reconstruct(rest, selected.code, spread)
        d_out = d_outs[0] if len(d_outs) == 1 else torch.cat(d_outs)
        fvus = [self._squares(error) / spread for error in errors]
        progress = self.num_steps / self.config.num_steps
        found = Reconstruction(
            rest, d_out, d_values, spread / batch, batch, l0, progress, self._groups, ranks
        )
        penalty = self.variant.penalise(selected, found, weights)
        left = self._spread(errors[-1])
        codes, aux_loss, block = list(penalty.codes), torch.zeros_like(l0), None
        if selected.dead is not None:
            aux_loss, extra = self._auxiliary(selected.dead, errors[-1], left, inner)
            if isinstance(extra, RowBlock):
                block = extra
            else:
                codes.append(extra)
        of, norm = self._gather(codes, block, inner, penalty, d_outs[0])
        norms = [norm]
        if self.shape.skip:
            of["W_skip"] = ranks.over_data(d_outs[0].T @ x)
            norms.append(of["W_skip"].norm())
        metrics = {
            "loss": sum(fvus) + penalty.loss + self.config.aux_loss_weight * aux_loss,
            "fvu": fvus[-1],
            "explained_variance": 1.0 - left / spread,
            "l0": l0,
            "aux_loss": aux_loss,
            "penalty": l0.new_zeros(()) + penalty.loss,
        }
        sites = self._by_site(errors[-1], y)
        on_device = [*metrics.values(), *sites.values(), *norms]
        numbers = iter(torch.stack([number.double() for number in on_device]).tolist())
        on_host = {key: next(numbers) for key in metrics}
        site_fvu = {site: next(numbers) for site in sites}
        gradients = Gradients(of, math.hypot(*numbers), selected)
        return StepMetrics(**on_host, site_fvu=site_fvu), gradients

    @torch.no_grad()
    def step(self, x: Float[Tensor, "batch d_in"], y: Float[Tensor, "batch d_out"]) -> StepMetrics:
        """One optimiser step on a batch; updates the weights in place.

        Raises:
            DataError: the loss or its gradient is not finite; the weights stay as they were.
        """
        metrics, grads = self.loss_and_gradients(x, y)
        if not (math.isfinite(metrics.loss) and math.isfinite(grads.norm)):
            raise DataError(
                f"the loss is {metrics.loss}, its gradient {grads.norm} at step {self.num_steps}",
                expected="finite numbers",
                next_step="lower the learning rate, or look at the activations",
            )
        update = AdamStep(
            step=self.num_steps + 1,
            lr=self.config.learning_rate(self.num_steps),
            scale=min(1.0, self.config.largest_norm(self.shape) / (grads.norm + 1e-6)),
            beta1=self.variant.beta1,
        )
        for key, weight in self.weights.items():
            rows = len(weight) if weight.ndim > 1 else 1
            kernels.adam(
                weight.view(rows, -1),
                grads.of[key].view(rows, -1),
                self.mean[key].view(rows, -1),
                self.square[key].view(rows, -1),
                update,
                unit_rows=self.variant.unit_decoder and key == "W_dec",
            )
        self.silent_tokens += len(x) * self.ranks.num_data
        code, fired = grads.selected.code, torch.zeros_like(self.silent_tokens)
        fired.index_add_(0, code.indices, (code.values > 0).to(fired))
        self.silent_tokens.masked_fill_(self.ranks.over_data(fired) > 0, 0)
        progress = self.num_steps / self.config.num_steps
        self.variant.advance(grads.selected, self.weights, progress, metrics.l0)
        self.num_steps += 1
        if resampling.due(self.num_steps, self.config):
            self._resample(x, y)
        return metrics

    def _resample(self, x: Tensor, y: Tensor) -> None:
        """Re-initialise dead features."""
        dead, weights = self.dead, self.weights
        inner = x - weights["b_dec"] if self.shape.subtract_b_dec else x
        selected = self.variant.select(self._encoder, Rows(inner, dead, 0, self.ranks), weights)
        resampling.resample(
            weights,
            (self.mean, self.square),
            dead,
            inner,
            y - self._decoded(selected.code) - weights["b_dec"],
            fraction=resampling.PUBLISHED if self.variant.name == "relu" else resampling.TOPK,
            seed=seeded(self.config.seed, str(self.num_steps)),
        )
        self.silent_tokens[dead] = 0

    @property
    def aux_k(self) -> int:
        if not self.config.aux_loss_weight:
            return 0
        return self.config.aux_k or max(1, self.shape.d_out // len(self.shape.sites_out) // 2)

    def _reconstruct(
        self, rest: Tensor, code: RaggedCode, spread: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """For each prefix (one, without groups) the residual of `rest` and the gradient of its
        features' output; and the gradient of every entry."""
        weight, scale = self.weights["W_dec"], -2.0 / spread
        if self.variant.groups is None and self.ranks.num_features == 1:
            error, dots = self._wiring.reconstruct(code, weight, self.weights["b_dec"], rest)
            return [error], [error * scale], dots.mul_(scale)
        errors = self._errors(rest, code)
        # A feature belongs to its own prefix and all larger ones.
        d_outs = [error * scale for error in errors]
        for number in range(len(d_outs) - 2, -1, -1):
            d_outs[number] += d_outs[number + 1]
        joined = d_outs[0] if len(d_outs) == 1 else torch.cat(d_outs)
        return (
            errors,
            d_outs,
            self._wiring.value_gradients(code, weight, joined, groups=self._groups),
        )

    def _errors(self, rest: Tensor, code: RaggedCode) -> list[Tensor]:
        """The residual of `rest` after each prefix; a single one without groups."""
        whole = self.variant.groups
        if whole is None or self._groups is None:
            return [rest - self._decoded(code) - self.weights["b_dec"]]
        errors: list[Tensor] = []
        rest, member = rest - self.weights["b_dec"], self._groups[code.indices]
        for group in range(int(whole[-1]) + 1):
            part = code.with_values(torch.where(member == group, code.values, 0.0))
            rest = rest - self._decoded(part)
            errors.append(rest)
        return errors

    def _decoded(self, code: RaggedCode) -> Tensor:
        """The decoded output summed over all feature shards, without b_dec."""
        return self.ranks.over_features(self._wiring.decode(code, self.weights["W_dec"]))

    def _by_site(self, error: Tensor, y: Tensor) -> dict[str, Tensor]:
        if not self.shape.several:
            return {}
        return {
            site: self._squares(error[:, part]) / self._spread(y[:, part])
            for site, part in zip(self.shape.sites_out, self.shape.columns, strict=True)
        }

    def _squares(self, rows: Tensor) -> Tensor:
        """The sum of all squares, over all rows, in float64."""
        return self.ranks.over_data(rows.square().sum()).double()

    def _spread(self, rows: Tensor) -> Tensor:
        """Sum of squared distances from the mean row; never zero, so that it can be divided by."""
        mean = self.ranks.over_data(rows.sum(0)) / (len(rows) * self.ranks.num_data)
        if self.ranks.alone:
            mean = rows.mean(0)
        return self._squares(rows - mean).clamp_min(_TINY)

    def _auxiliary(
        self, extra: RaggedCode | DenseCode, error: Tensor, spread: Tensor, inner: Tensor
    ) -> tuple[Tensor, CodeGradient | RowBlock]:
        """The auxiliary loss and its weighted gradient, of the dead features' entries or, where
        their code is dense, of their weights. `spread`: the total squares of the error."""
        weight = self.weights["W_dec"]
        if isinstance(extra, DenseCode):
            weight, values = self._low(weight[extra.features]), self._low(extra.values)
            rest = error - values @ weight
        else:
            rest = error - self._decoded(extra)
        there = spread > _TINY
        loss = torch.where(there, self._squares(rest) / spread, 0.0)
        d_out = rest.mul_(torch.where(there, -2.0 * self.config.aux_loss_weight / spread, 0.0))
        if isinstance(extra, RaggedCode):
            d_pre = self._wiring.value_gradients(extra, weight, d_out)
            return loss, CodeGradient(extra, d_pre, d_out)
        low = self._low(d_out)
        d_pre = (low @ weight.T).mul_(extra.values > 0)
        d_enc, d_dec = d_pre.T @ self._low(inner), values.T @ low
        return loss, RowBlock(
            extra.features, d_enc.float(), d_pre.sum(0, dtype=torch.float32), d_dec.float()
        )

    def _low(self, factor: Tensor) -> Tensor:
        """An operand of the dead features' matmuls: bf16 where the encoder's matmul is."""
        return factor.bfloat16() if self._encoder.half else factor

    def _gather(
        self,
        codes: list[CodeGradient],
        block: RowBlock | None,
        inner: Tensor,
        penalty: Penalty,
        d_bias: Tensor,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients of all parameters but a skip, and their norm; `d_bias` is the gradient of the
        output that b_dec is added to."""
        sparse = self._wiring.weight_gradients(
            codes,
            inner,
            self.weights["W_dec"],
            project=self.variant.unit_decoder,
            terms=penalty.terms,
            block=block,
            out=self._scratch.get(self._size),
        )
        self._scratch[self._size] = sparse
        ranks = self.ranks
        for gradient in (sparse.W_enc, sparse.b_enc, sparse.W_dec):
            ranks.over_data(gradient)
        own = {key: ranks.over_data(gradient) for key, gradient in penalty.gradients.items()}
        b_dec = ranks.over_data(d_bias.sum(0))
        if self.shape.subtract_b_dec:
            b_dec -= ranks.over_features(sparse.b_enc @ self.weights["W_enc"])
        squared = sparse.squared_norm.double().sum()
        if ranks.num_data > 1:  # the kernel sums over this process's rows only
            gradients = sparse.W_enc, sparse.b_enc, sparse.W_dec
            squared = torch.stack([g.double().square().sum() for g in gradients]).sum()
        b_enc = sparse.b_enc
        if penalty.bias is not None:
            b_enc = b_enc + ranks.over_data(penalty.bias)
            squared = squared + b_enc.double().square().sum() - sparse.b_enc.double().square().sum()
        for gradient in own.values():
            squared = squared + gradient.double().square().sum()
        squared = ranks.over_features(squared) + b_dec.double().square().sum()
        found = {"W_enc": sparse.W_enc, "b_enc": b_enc, "W_dec": sparse.W_dec, "b_dec": b_dec}
        return {**found, **own}, squared.sqrt()
