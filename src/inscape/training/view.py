"""Activations as training sees them, and the way back.

1. A site is scaled so that E||x|| = sqrt(width), or whitened (see `whitening`).
2. What was trained is folded, so that it acts on activations as the model has them. An autoencoder
   keeps its decoder rows: its values take the scale, so that they are in units of the activations.
   A transcoder keeps its values, and its maps take the scales.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from inscape.core import DataError, seeded
from inscape.dictionary import DictionaryConfig
from inscape.training.config import TrainConfig
from inscape.training.initial import initial_weights
from inscape.training.stream import ActivationSource
from inscape.training.whitening import Whitening

_SAMPLE = 8192
_TOKENS_PER_DIMENSION = 32


class View:
    """What one training makes of a source of activations.

    Attributes:
        sites: those that it reads, without repetition. scales: of input and output; 1 where they
            are whitened.
    """

    def __init__(
        self, store: ActivationSource, shape: DictionaryConfig, config: TrainConfig
    ) -> None:
        self.store, self.shape, self.config = store, shape, config
        self.sites = list(dict.fromkeys((shape.site_in, shape.site_out)))
        self._sample = self._first()
        self.whitening = Whitening.of(self._sample) if config.whiten else None
        self.scales = (1.0, 1.0)
        if self.whitening is None:
            self.scales = _scale(store, shape.site_in), _scale(store, shape.site_out)

    def _first(self) -> Tensor:
        """Tokens of the input's site; enough of them for a covariance, where one is needed."""
        width = self.shape.d_in
        count = max(_SAMPLE, _TOKENS_PER_DIMENSION * width) if self.config.whiten else _SAMPLE
        seed = seeded(self.config.seed, "sample")
        stream = self.store.batches([self.shape.site_in], count, seed=seed, epochs=1, memory=0)
        return next(stream)[self.shape.site_in]

    def initial(self, part: slice | None = None) -> dict[str, Tensor]:
        """The weights that training begins with, or those of some features."""
        mean = torch.from_numpy(self.store.site_stats(self.shape.site_out).mean * self.scales[1])
        sample = self._seen(self._sample, self.scales[0])
        return initial_weights(
            self.shape, sample=sample, target_mean=mean, seed=self.config.seed, part=part
        )

    def pair(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(read, to be predicted) of a batch by site."""
        x = self._seen(batch[self.shape.site_in], self.scales[0])
        return x, batch[self.shape.site_out] * self.scales[1] if self.shape.transcoder else x

    def _seen(self, x: Tensor, scale: float) -> Tensor:
        return x * scale if self.whitening is None else self.whitening(x)

    def fold(self, weights: dict[str, Tensor], *, unit_rows: bool) -> dict[str, Tensor]:
        """Weights that act on activations as the model has them; with `unit_rows`, those of an
        autoencoder whose decoder rows are brought to unit norm."""
        if self.whitening is not None:
            return self.whitening.fold(weights)
        folded = _fold(weights, self.shape, *self.scales)
        return _with_unit_rows(folded) if unit_rows and not self.shape.transcoder else folded


def _scale(store: ActivationSource, site: str) -> float:
    norm = store.site_stats(site).mean_norm
    if not (math.isfinite(norm) and norm > 0):
        raise DataError(
            f"the activations at {site} have mean norm {norm}",
            expected="a positive number",
            next_step="harvest a site that is not constant zero",
        )
    return math.sqrt(store.width(site)) / norm


def _fold(
    weights: dict[str, Tensor], shape: DictionaryConfig, scale_in: float, scale_out: float
) -> dict[str, Tensor]:
    folded = {**weights, "b_dec": weights["b_dec"] / scale_out}
    if shape.subtract_b_dec:
        for key in folded.keys() & {"b_enc", "threshold"}:
            folded[key] = weights[key] / scale_in
        return folded
    folded |= {"W_enc": weights["W_enc"] * scale_in, "W_dec": weights["W_dec"] / scale_out}
    if shape.skip:
        folded["W_skip"] = weights["W_skip"] * (scale_in / scale_out)
    return folded


def _with_unit_rows(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same autoencoder: its values take the lengths of the decoder's rows."""
    norm = weights["W_dec"].norm(dim=1)
    norm = torch.where(norm > 0, norm, 1.0)
    longer = {k: weights[k] * norm for k in weights.keys() & {"b_enc", "threshold"}}
    rows = norm[:, None]
    maps = {"W_enc": weights["W_enc"] * rows, "W_dec": weights["W_dec"] / rows}
    return {**weights, **longer, **maps}
