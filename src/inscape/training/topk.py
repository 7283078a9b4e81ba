"""One training step of a TopK dictionary, with exact gradients and no dense code.

1. Encode: the k largest features of each row, and the aux_k largest among the dead ones.
2. Loss = |y - y^|^2 / |y - mean y|^2, sums over the batch: the fraction of variance unexplained.
3. Auxiliary loss: the dead features' code decodes (without b_dec: y^ has it already) to e^, which
   should explain the error e = y - y^, held constant: |e - e^|^2 / |e - mean e|^2, zero where there
   is no error. It is weighted by 1/32.
4. Gradients flow back through both decodes to the values, and from there to encoder and b_dec;
   where the encoder subtracts b_dec, b_dec collects -(sum of value gradients) @ W_enc as well.
5. For autoencoders the decoder rows have unit norm: the gradient along them is removed, and they
   are normalised after the update. Clip the whole gradient, then Adam.

Method: Gao et al. 2024, "Scaling and evaluating sparse autoencoders"; transcoders as in Dunefsky
et al. 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import DataError
from inscape.dictionary import Code, DictionaryConfig, TopKEncoder, kernels
from inscape.dictionary.kernels import AdamStep, CodeGradient, WeightGradients
from inscape.training.config import TrainConfig

PARAMETERS = ("W_enc", "b_enc", "W_dec", "b_dec")
_TINY = 1e-12


@dataclass(frozen=True)
class StepMetrics:
    """Figures of one batch.

    loss: with the auxiliary part. fvu: |y - y^|^2 / |y - mean y|^2. explained_variance: centred,
    1 - Var(y - y^) / Var(y). l0: mean number of active features. aux_loss: unweighted, 0 without
    dead features.
    """

    loss: float
    fvu: float
    explained_variance: float
    l0: float
    aux_loss: float


@dataclass(frozen=True)
class Gradients:
    """Gradients by parameter name, the norm of them all, and which features fired."""

    of: dict[str, Tensor]
    norm: float
    fired: Bool[Tensor, " d_dict"]


class TopKTrainer:
    """The state of a training run: weights, moments, and how long each feature has been silent.

    Attributes:
        weights, mean, square: tensors by parameter name (weights and Adam's moments).
        silent_tokens [d_dict]: tokens since the feature last fired.
        num_steps: steps taken.
    """

    def __init__(
        self, shape: DictionaryConfig, config: TrainConfig, weights: dict[str, Tensor]
    ) -> None:
        self.shape = shape
        self.config = config
        self.unit_decoder = not shape.transcoder
        self.weights = {key: weights[key].contiguous() for key in PARAMETERS}
        self.mean = {key: torch.zeros_like(value) for key, value in self.weights.items()}
        self.square = {key: torch.zeros_like(value) for key, value in self.weights.items()}
        self.silent_tokens = torch.zeros(
            shape.d_dict, dtype=torch.int64, device=self.weights["W_enc"].device
        )
        self.num_steps = 0
        self._encoder = TopKEncoder(shape.k)
        self._storage: WeightGradients | None = None

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
        project: bool | None = None,
    ) -> tuple[StepMetrics, Gradients]:
        """The loss of a batch and its exact gradients, auxiliary loss included.

        Args:
            x, y: what is read and what is to be predicted (the same for an autoencoder), scaled.
            dead: features for the auxiliary loss; those that are dead now by default.
            project: remove the decoder gradient along unit rows; by default for autoencoders.

        The gradients are held in storage that the next call reuses.
        """
        weights = self.weights
        inner = x - weights["b_dec"] if self.shape.subtract_b_dec else x
        code, extra = self._encode(inner, self.dead if dead is None else dead)
        error = y - kernels.decode(code.indices, code.values, weights["W_dec"], weights["b_dec"])
        spread = _spread(y)
        d_out = error * (-2.0 / spread)
        codes = [self._gradient(code, d_out)]
        fvu = float(error.square().sum()) / spread
        aux_loss = 0.0
        if extra is not None:
            aux_loss, d_extra = self._auxiliary(extra, error)
            codes.append(self._gradient(extra, d_extra))
        grads = self._weight_gradients(codes, inner, d_out, project)
        metrics = StepMetrics(
            loss=fvu + self.config.aux_weight * aux_loss,
            fvu=fvu,
            explained_variance=1.0 - _spread(error) / spread,
            l0=code.l0(),
            aux_loss=aux_loss,
        )
        fired = torch.zeros_like(self.silent_tokens, dtype=torch.bool)
        fired[code.indices[code.active]] = True
        return metrics, Gradients(*grads, fired)

    @torch.no_grad()
    def step(self, x: Float[Tensor, "batch d_in"], y: Float[Tensor, "batch d_out"]) -> StepMetrics:
        """One optimiser step on a batch; the weights change in place.

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
        scale = min(1.0, self.config.clip / (grads.norm + 1e-6))
        update = AdamStep(
            step=self.num_steps + 1, lr=self.config.learning_rate(self.num_steps), scale=scale
        )
        for key in PARAMETERS:
            rows = len(self.weights[key]) if key.startswith("W") else 1
            kernels.adam(
                self.weights[key].view(rows, -1),
                grads.of[key].view(rows, -1),
                self.mean[key].view(rows, -1),
                self.square[key].view(rows, -1),
                update,
                unit_rows=self.unit_decoder and key == "W_dec",
            )
        self.silent_tokens += len(x)
        self.silent_tokens[grads.fired] = 0
        self.num_steps += 1
        return metrics

    def _encode(self, inner: Tensor, dead: Tensor) -> tuple[Code, Code | None]:
        aux_k = self.config.aux_k or max(1, self.shape.d_out // 2)
        return self._encoder.encode_with_dead(
            inner,
            self.weights["W_enc"],
            self.weights["b_enc"],
            dead=dead,
            aux_k=aux_k if self.config.aux_weight else 0,
        )

    def _gradient(self, code: Code, d_out: Tensor) -> CodeGradient:
        d_values = kernels.value_gradients(code.indices, code.values, self.weights["W_dec"], d_out)
        return CodeGradient(code.indices, code.values, d_values, d_out)

    def _auxiliary(self, extra: Code, error: Tensor) -> tuple[float, Tensor]:
        """The auxiliary loss and its weighted gradient for the dead features' reconstruction."""
        guess = kernels.decode(extra.indices, extra.values, self.weights["W_dec"])
        rest = error - guess
        spread = _spread(error)
        if spread <= _TINY:
            return 0.0, torch.zeros_like(error)
        loss = float(rest.square().sum()) / spread
        return loss, rest.mul_(-2.0 * self.config.aux_weight / spread)

    def _weight_gradients(
        self, codes: list[CodeGradient], inner: Tensor, d_out: Tensor, project: bool | None
    ) -> tuple[dict[str, Tensor], float]:
        sparse = kernels.weight_gradients(
            codes,
            inner,
            self.weights["W_dec"],
            project=self.unit_decoder if project is None else project,
            out=self._storage,
        )
        self._storage = sparse
        b_dec = d_out.sum(0)
        if self.shape.subtract_b_dec:
            b_dec -= sparse.b_enc @ self.weights["W_enc"]
        norm = float((sparse.squared_norm.double().sum() + b_dec.double().square().sum()).sqrt())
        return {
            "W_enc": sparse.W_enc,
            "b_enc": sparse.b_enc,
            "W_dec": sparse.W_dec,
            "b_dec": b_dec,
        }, norm


def _spread(rows: Tensor) -> float:
    """Sum of squared distances from the mean row; never zero, so that it may divide."""
    return max(float((rows - rows.mean(0)).square().sum()), _TINY)
