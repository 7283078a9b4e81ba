"""Weights at the start of training."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import seeded
from inscape.dictionary import DictionaryConfig

_PIECE = 4096
_TINY = 1e-12


def initial_weights(
    shape: DictionaryConfig,
    *,
    sample: Float[Tensor, "tokens d_in"],
    target_mean: Float[Tensor, " d_out"],
    seed: int,
    part: slice | None = None,
    from_data: float = 0.0,
) -> dict[str, Tensor]:
    """The published initialisation, by parameter name.

    Autoencoder: unit decoder rows in random directions, encoder tied to them, b_dec the geometric
    median of the sample, encoder biases zero. Transcoder: encoder rows of unit norm in random
    directions, W_dec = 0, b_dec = the mean target; the encoder biases are such that the mean input
    gives zero (nothing is subtracted from the input, and with zero biases a large mean would decide
    which features ever fire). A crosscoder starts as an autoencoder of its concatenated sites, with
    rows of unit norm over all of them; a cross-layer transcoder as one transcoder per layer.

    Args:
        sample: scaled activations that the encoder reads.
        target_mean: mean of the scaled target.
        part: the requested features, all by default.
        from_data: interpolation of an autoencoder's rows from random directions (0) to those of
            single tokens of the sample minus b_dec (1).
    """
    generator = torch.Generator().manual_seed(seeded(seed, "weights") % 2**62)
    width = shape.shapes()["W_enc"][1]
    own = part or slice(0, shape.d_dict)
    encoder = _unit(_normal(shape.d_dict, width, generator, own))
    if shape.transcoder:
        whole = shape.shapes()["W_dec"]  # a cross-layer transcoder's features are not sharded
        decoder = torch.zeros(whole if shape.cross_layer else (len(encoder), whole[1]))
        offset = target_mean.float().clone()
        biases = -shape.wiring.read(sample.mean(0), encoder)
    else:
        offset = geometric_median(sample)
        if from_data:
            chosen = torch.Generator().manual_seed(seeded(seed, "tokens") % 2**62)
            tokens = torch.randint(len(sample), (shape.d_dict,), generator=chosen)[own]
            encoder = _unit(encoder.lerp(_unit(sample[tokens] - offset), from_data))
        decoder = encoder.clone()
        biases = torch.zeros(len(encoder))
    return {"W_enc": encoder, "b_enc": biases, "W_dec": decoder, "b_dec": offset}


def _unit(rows: Tensor) -> Tensor:
    found: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return found


def _normal(rows: int, width: int, generator: torch.Generator, part: slice) -> Tensor:
    """Rows `part` of what torch.randn((rows, width)) draws, without memory for the others.

    torch draws 16 numbers at a time: chunks of a multiple of 16 give the same numbers as the whole.
    """
    found = torch.empty((part.stop - part.start, width))
    start = 0
    while start < part.stop:
        stop = start + _PIECE
        if (rows - stop) * width < 16:
            stop = rows
        drawn = torch.randn((stop - start, width), generator=generator)
        first, last = max(start, part.start), min(stop, part.stop)
        if first < last:
            found[first - part.start : last - part.start] = drawn[first - start : last - start]
        start = stop
    return found


def geometric_median(
    rows: Float[Tensor, "rows width"], *, num_iterations: int = 100, tolerance: float = 1e-6
) -> Float[Tensor, " width"]:
    """The geometric median of the rows (Weiszfeld's iteration)."""
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
