"""Weights at the start of training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import seeded
from inscape.dictionary import DictionaryConfig


def initial_weights(
    shape: DictionaryConfig,
    *,
    sample: Float[Tensor, "tokens d_in"],
    target_mean: Float[Tensor, " d_out"],
    seed: int,
) -> dict[str, Tensor]:
    """The published starting point, by parameter name.

    Autoencoder: unit decoder rows in random directions, encoder tied to them, b_dec the geometric
    median of the sample, encoder biases zero. Transcoder: encoder rows of unit norm in random
    directions, W_dec = 0, b_dec = the mean target; the encoder biases are such that the mean input
    gives zero (nothing is subtracted from the input, and with zero biases a large mean would decide
    which features ever fire). A crosscoder begins as the autoencoder of its sites side by side,
    with rows of unit norm over all of them; a cross-layer transcoder as each layer's transcoder.

    Args:
        sample: scaled activations that the encoder reads.
        target_mean: mean of the scaled target.
    """
    generator = torch.Generator().manual_seed(seeded(seed, "weights") % 2**62)
    shapes = shape.shapes()
    encoder = torch.randn(shapes["W_enc"], generator=generator)
    encoder /= encoder.norm(dim=1, keepdim=True)
    if shape.transcoder:
        decoder = torch.zeros(shapes["W_dec"])
        offset = target_mean.float().clone()
        biases = -shape.wiring.read(sample.mean(0), encoder)
    else:
        decoder = encoder.clone()
        offset = geometric_median(sample)
        biases = torch.zeros(shape.d_dict)
    return {"W_enc": encoder, "b_enc": biases, "W_dec": decoder, "b_dec": offset}


def geometric_median(
    rows: Float[Tensor, "rows width"], *, num_iterations: int = 100, tolerance: float = 1e-6
) -> Float[Tensor, " width"]:
    """The point with the least sum of distances to the rows (Weiszfeld's iteration)."""
    points = rows.double()
    guess = points.mean(0)
    for _ in range(num_iterations):
        weights = 1.0 / (points - guess).norm(dim=1).clamp_min(1e-9)
        update = (weights[:, None] * points).sum(0) / weights.sum()
        moved = float((update - guess).norm())
        guess = update
        if moved <= tolerance * float(guess.norm() + 1e-12):
            break
    return guess.float()
