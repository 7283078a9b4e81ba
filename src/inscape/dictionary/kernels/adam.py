"""Adam in one pass over a parameter: clip, moments, update and (optionally) unit rows.

The update is torch.optim.Adam's without weight decay. Rows whose gradient is zero are updated too:
their moments decay and still move them, as in torch (a "sparse" Adam would train differently).
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float
from numba import prange
from torch import Tensor

from inscape.dictionary.kernels import gpu
from inscape.dictionary.kernels._jit import array, parallel, runs_here
from inscape.dictionary.kernels.terms import AdamStep


def adam(
    parameter: Float[Tensor, "rows width"],
    gradient: Float[Tensor, "rows width"],
    mean: Float[Tensor, "rows width"],
    square: Float[Tensor, "rows width"],
    step: AdamStep,
    *,
    unit_rows: bool = False,
) -> None:
    """Update parameter, first and second moment in place; with `unit_rows`, renormalise rows."""
    if gpu.serves(parameter, gradient):
        gpu.adam(parameter, gradient, mean, square, step, unit_rows)
        return
    if not runs_here(parameter, gradient):
        adam_plain(parameter, gradient, mean, square, step, unit_rows=unit_rows)
        return
    correction1 = 1.0 - step.beta1**step.step
    correction2 = 1.0 - step.beta2**step.step
    _adam(
        *(array(t) for t in (parameter, gradient, mean, square)),
        np.float32(step.scale),
        np.float32(step.lr / correction1),
        np.float32(1.0 / correction2**0.5),
        np.float32(step.beta1),
        np.float32(step.beta2),
        np.float32(step.eps),
        unit_rows,
    )


def adam_plain(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: AdamStep,
    *,
    unit_rows: bool = False,
) -> None:
    """Reference of `adam` in plain torch."""
    gradient = gradient * step.scale
    mean.lerp_(gradient, 1 - step.beta1)
    square.mul_(step.beta2).addcmul_(gradient, gradient, value=1 - step.beta2)
    denominator = square.sqrt() / (1 - step.beta2**step.step) ** 0.5 + step.eps
    parameter.addcdiv_(mean, denominator, value=-step.lr / (1 - step.beta1**step.step))
    if unit_rows:
        norm = parameter.norm(dim=1, keepdim=True)
        parameter.div_(torch.where(norm > 0, norm, 1.0))


@parallel
@no_type_check
def _adam(parameter, gradient, mean, square, scale, lr, root, beta1, beta2, eps, unit_rows):
    width = parameter.shape[1]
    one = np.float32(1.0)
    for row in prange(parameter.shape[0]):
        total = np.float32(0.0)
        for i in range(width):
            grad = gradient[row, i] * scale
            first = mean[row, i] + (grad - mean[row, i]) * (one - beta1)
            second = square[row, i] * beta2 + grad * grad * (one - beta2)
            mean[row, i] = first
            square[row, i] = second
            updated = parameter[row, i] - lr * first / (np.sqrt(second) * root + eps)
            parameter[row, i] = updated
            total += updated * updated
        if unit_rows and total > 0.0:
            inverse = one / np.sqrt(total)
            for i in range(width):
                parameter[row, i] *= inverse
