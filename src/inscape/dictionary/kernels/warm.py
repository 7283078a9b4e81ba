"""Compile every kernel, so that the first real use need not wait.

`python -m inscape.dictionary.kernels` does it from a shell.

Compiling takes some seconds once per machine and version; the result is cached on disk.
"""

from __future__ import annotations

import torch

from inscape.dictionary.code import Code
from inscape.dictionary.kernels.adam import AdamStep, adam
from inscape.dictionary.kernels.decode import decode, value_gradients
from inscape.dictionary.kernels.gradients import CodeGradient, weight_gradients
from inscape.dictionary.kernels.select import select_above, select_top


def compile_kernels() -> None:
    """Run every kernel once on a few numbers."""
    pre = torch.linspace(-1.0, 1.0, 40).reshape(2, 20).contiguous()
    weight = torch.ones((20, 4))
    x = torch.ones((2, 4))
    code = Code(*select_top(pre, 2)).ragged()
    select_top(pre, 1, columns=torch.arange(3))
    select_above(pre, torch.zeros(1))
    out = decode(code, weight)
    given = CodeGradient(code, value_gradients(code, weight, out), out)
    weight_gradients([given], x, weight, project=False)
    adam(weight.clone(), weight, weight.clone(), weight.clone(), AdamStep(step=1, lr=0.1))
