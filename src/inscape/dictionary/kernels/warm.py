"""Compile every kernel, so that the first real use need not wait.

`python -m inscape.dictionary.kernels` does it from a shell.

Compiling takes some seconds once per machine and version; the result is cached on disk.
"""

from __future__ import annotations

import torch

from inscape.dictionary.kernels.adam import AdamStep, adam
from inscape.dictionary.kernels.decode import decode, value_gradients
from inscape.dictionary.kernels.gradients import CodeGradient, weight_gradients
from inscape.dictionary.kernels.select import select_top


def compile_kernels() -> None:
    """Run every kernel once on a few numbers."""
    pre = torch.linspace(-1.0, 1.0, 40).reshape(2, 20).contiguous()
    weight = torch.ones((20, 4))
    x = torch.ones((2, 4))
    indices, values = select_top(pre, 2)
    select_top(pre, 1, columns=torch.arange(3))
    out = decode(indices, values, weight)
    d_values = value_gradients(indices, values, weight, out)
    code = CodeGradient(indices, values, d_values, out)
    weight_gradients([code], x, weight, project=False)
    adam(weight.clone(), weight, weight.clone(), weight.clone(), AdamStep(step=1, lr=0.1))
