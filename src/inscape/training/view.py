"""Normalisation of activations for training, and folding it back into the weights.

1. A site is scaled so that E||x|| = sqrt(width), or whitened (see `whitening`). The targets of a
   dictionary of several sites are scaled so that E||y - mean||^2 = width at each: no site dominates
   the loss by its mean or its norm.
2. Trained weights are folded to act on the model's raw activations. For an autoencoder the decoder
   rows stay and the values take the scale, so that they are in units of the activations. For a
   transcoder or a crosscoder the values stay and the weight matrices take the scales.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inscape.core import DataError, seeded
from inscape.dictionary import CrossLayer, DictionaryConfig
from inscape.training.config import TrainConfig
from inscape.training.initial import initial_weights
from inscape.training.stream import ActivationSource
from inscape.training.whitening import Whitening

Scale = float | tuple[float, ...]
_SAMPLE = 8192
_TOKENS_PER_DIMENSION = 32
_ROWS, _FEATURES = 1024, 4096  # to estimate how many features fire at the start


class View:
    """A source of activations, normalised for one training run.

    Attributes:
        sites: the distinct sites that it reads. scales: of input and output, one per site if there
            are several; 1 with whitening.
    """

    def __init__(
        self, store: ActivationSource, shape: DictionaryConfig, config: TrainConfig
    ) -> None:
        self.store, self.shape, self.config = store, shape, config
        self.sites = list(dict.fromkeys((*shape.sites_in, *shape.sites_out)))
        self._sample = self._first()
        self.whitening = Whitening.of(self._sample) if config.whiten else None
        self.scales: tuple[Scale, Scale] = (1.0, 1.0)
        if shape.several:
            wanted = tuple(_scale(store, site, centred=True) for site in shape.sites_out)
            read = tuple(_scale(store, site) for site in shape.sites_in)
            self.scales = (read if shape.transcoder else wanted), wanted
        elif self.whitening is None:
            self.scales = _scale(store, shape.site_in), _scale(store, shape.site_out)
        self._read, self._written = (self._columns(scale) for scale in self.scales)
        self._moved: dict[torch.device, tuple[Any, Any, Whitening | None]] = {}

    def _columns(self, scale: Scale) -> float | Tensor:
        """A scale as a factor of the activations: a number, or one per column."""
        if isinstance(scale, float):
            return scale
        return torch.tensor(scale).repeat_interleave(torch.tensor(self.shape.widths))

    def _first(self) -> Tensor:
        """A sample of the input, on the CPU like the initial weights; large enough for a
        covariance if whitening needs one."""
        width = self.shape.d_in
        count = max(_SAMPLE, _TOKENS_PER_DIMENSION * width) if self.config.whiten else _SAMPLE
        count = min(count, getattr(self.store, "sample_tokens", count))
        seed = seeded(self.config.seed, "sample")
        sites = self.shape.sites_in
        batch = next(self.store.batches(sites, count, seed=seed, epochs=1))
        return _concatenated(batch, sites).cpu()

    def initial(self, part: slice | None = None) -> dict[str, Tensor]:
        """The initial weights, or those of some features."""
        means = [self.store.site_stats(site).mean for site in self.shape.sites_out]
        mean = torch.from_numpy(np.concatenate(means)) * self._written
        if not len(self._sample):  # freed after an earlier call
            self._sample = self._first()
        sample, config = self._seen(self._sample), self.config
        given: dict[str, Any] = {
            "sample": sample,
            "target_mean": mean,
            "seed": config.seed,
            "from_data": config.from_data(self.shape),
        }
        weights = initial_weights(self.shape, **given, part=part)
        some = weights
        if part is not None and part != slice(0, self.shape.d_dict):  # the same on every process
            some = initial_weights(
                self.shape, **given, part=slice(0, min(_FEATURES, self.shape.d_dict))
            )
        started = config.make_variant(self.shape).started(self._pre(some, sample))
        own = {key: torch.full_like(weights["b_enc"], value) for key, value in started.items()}
        self._sample = self._sample[:0]  # it is large, and no longer needed
        return {**weights, **own}

    def _pre(self, weights: Mapping[str, Tensor], sample: Tensor) -> Tensor:
        """Pre-activations [rows, features] of some tokens and the first features; for a cross-layer
        transcoder, of fewer tokens and all features."""
        features, rows = _FEATURES, sample[:_ROWS]
        if self.shape.cross_layer:
            features = self.shape.d_dict
            rows = rows[: max(1, _ROWS * _FEATURES // features)]
        inner = rows - weights["b_dec"] if self.shape.subtract_b_dec else rows
        encoder, bias = weights["W_enc"][:features], weights["b_enc"][:features]
        return self.shape.wiring.read(inner, encoder) + bias

    def pair(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(input, target) of a batch given by site."""
        x = self._seen(_concatenated(batch, self.shape.sites_in))
        if not self.shape.transcoder:
            return x, x
        y = _concatenated(batch, self.shape.sites_out)
        return x, y * self._on(y.device)[1]

    def _seen(self, x: Tensor) -> Tensor:
        read, _, whitening = self._on(x.device)
        return x * read if whitening is None else whitening(x)

    def _on(self, device: torch.device) -> tuple[Any, Any, Whitening | None]:
        """Both factors and the whitening, moved to a device once: the host waits for such a
        copy."""
        if device not in self._moved:
            read, written = (
                scale.to(device) if isinstance(scale, Tensor) else scale
                for scale in (self._read, self._written)
            )
            whitening = None if self.whitening is None else self.whitening.to(device)
            self._moved[device] = read, written, whitening
        return self._moved[device]

    def fold(self, weights: dict[str, Tensor], *, unit_rows: bool) -> dict[str, Tensor]:
        """Weights that act on the model's raw activations; with `unit_rows`, an autoencoder's
        decoder rows are normalised to unit norm."""
        if self.whitening is not None:
            return self.whitening.fold(weights)
        if self.shape.several:
            return self._fold_several(weights)
        folded = _fold(weights, self.shape, *self.scales)  # type: ignore[arg-type]
        return _with_unit_rows(folded) if unit_rows and not self.shape.transcoder else folded

    def _fold_several(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weight matrices take the scales, per row's layer in a cross-layer transcoder."""
        read, written = (torch.tensor(scale) for scale in self.scales)
        into, out = self._read, self._written
        wiring = self.shape.wiring
        if isinstance(wiring, CrossLayer):
            into = read.repeat_interleave(wiring.size)[:, None]
            out = written[wiring.targets()][:, None]
        return {
            **weights,
            "W_enc": weights["W_enc"] * into,
            "W_dec": weights["W_dec"] / out,
            "b_dec": weights["b_dec"] / self._written,
        }


def _concatenated(batch: Mapping[str, Tensor], sites: tuple[str, ...]) -> Tensor:
    return batch[sites[0]] if len(sites) == 1 else torch.cat([batch[site] for site in sites], 1)


def _scale(store: ActivationSource, site: str, *, centred: bool = False) -> float:
    """The factor that brings a site's mean norm, or with `centred` its RMS distance from the mean,
    to sqrt(width)."""
    found = store.site_stats(site)
    norm = math.sqrt(found.variance) if centred else found.mean_norm
    if not (math.isfinite(norm) and norm > 0):
        raise DataError(
            f"the activations at {site} have {'variance' if centred else 'mean norm'} {norm}",
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
    """The same autoencoder with unit decoder rows: its values take their norms."""
    norm = weights["W_dec"].norm(dim=1)
    norm = torch.where(norm > 0, norm, 1.0)
    longer = {k: weights[k] * norm for k in weights.keys() & {"b_enc", "threshold"}}
    rows = norm[:, None]
    maps = {"W_enc": weights["W_enc"] * rows, "W_dec": weights["W_dec"] / rows}
    return {**weights, **longer, **maps}
