"""Whitening: activations with equal variance in every direction.

1. The mean μ and the covariance C of a sample of the activations at a site.
2. W = C^(-1/2), the symmetric root; eigenvalues below FLOOR of the largest are raised to it, so
   that directions with almost no variance are not amplified.
3. Training sees (x - μ) W. It minimises the Mahalanobis, not the Euclidean, distance of the
   reconstruction: low-variance directions, which carry much of the context, weigh as much as those
   of the token's identity.
4. Folded: an autoencoder of (x - μ) W is one of x, with W_enc W, W_dec W⁻¹ and b_dec W⁻¹ + μ. Its
   values stay in units of the whitened activations, so its decoder rows have no unit norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import DataError

FLOOR = 1e-4


@dataclass(frozen=True)
class Whitening:
    """z = (x - mean) @ matrix, x = z @ inverse + mean; mean [width], the rest [width, width]."""

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, sample: Float[Tensor, "tokens width"]) -> Whitening:
        """The whitening of a sample.

        Raises:
            DataError: the sample has fewer tokens than dimensions, or does not vary.
        """
        count, width = sample.shape
        x = sample.double()
        mean = x.mean(0)
        values, directions = torch.linalg.eigh((x - mean).T @ (x - mean) / count)
        if count <= width or not float(values[-1]) > 0:
            raise DataError(
                f"{count} tokens of width {width} give no covariance to whiten by",
                expected="more tokens than dimensions, and activations that vary",
                next_step="harvest more text, or train without whitening",
            )
        values = values.clamp_min(FLOOR * float(values[-1]))
        matrix = directions * values.rsqrt() @ directions.T
        inverse = directions * values.sqrt() @ directions.T
        return cls(mean.float(), matrix.float(), inverse.float())

    def __call__(self, x: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens width"]:
        """Activations, whitened."""
        return (x - self.mean) @ self.matrix

    def to(self, device: torch.device) -> Whitening:
        """The same on another device."""
        return Whitening(*(t.to(device) for t in (self.mean, self.matrix, self.inverse)))

    def fold(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of an autoencoder of whitened activations, folded for raw activations."""
        return {
            **weights,
            "W_enc": weights["W_enc"] @ self.matrix,
            "W_dec": weights["W_dec"] @ self.inverse,
            "b_dec": weights["b_dec"] @ self.inverse + self.mean,
        }
