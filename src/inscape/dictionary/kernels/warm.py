"""Compile every kernel, so that the first real use need not wait.

`python -m inscape.dictionary.kernels` does it from a shell.

Compiling takes some seconds once per machine and version; the result is cached on disk.
"""

from __future__ import annotations

import torch

from inscape.dictionary.code import Code
from inscape.dictionary.kernels.adam import adam
from inscape.dictionary.kernels.decode import decode, reconstruct, value_gradients
from inscape.dictionary.kernels.gradients import weight_gradients
from inscape.dictionary.kernels.select import keep_top, select_above, select_half, select_top
from inscape.dictionary.kernels.terms import AdamStep, CodeGradient


def compile_kernels() -> None:
    """Run every kernel once on a few numbers."""
    pre = torch.linspace(-1.0, 1.0, 40).reshape(2, 20).contiguous()
    weight = torch.ones((20, 4))
    x = torch.ones((2, 4))
    code = Code(*select_top(pre, 2)).ragged()
    select_top(pre, 1, columns=torch.arange(3))
    select_above(pre, torch.zeros(1))
    select_half(pre.bfloat16(), x, weight, weight[:, 0].contiguous(), 2, *select_top(pre, 1))
    keep_top(pre.clone(), 2)
    out = decode(code, weight)
    reconstruct(code, weight, weight[0], out)
    given = CodeGradient(code, value_gradients(code, weight, out), out)
    weight_gradients([given], x, weight, project=False)
    adam(weight.clone(), weight, weight.clone(), weight.clone(), AdamStep(step=1, lr=0.1))
