"""Kernels for sparse codes: numba on the CPU, Triton on a graphics card, and a plain torch
reference beside each.

The public functions take torch tensors; they use numba for fp32 tensors on the CPU, Triton for
those on a CUDA device that has passed a check against the references, and the plain reference for
anything else, or for everything within `use_kernels("plain")`.
"""

from inscape.dictionary.kernels import checks  # noqa: F401  compares the kernels on a GPU
from inscape.dictionary.kernels._jit import use_kernels
from inscape.dictionary.kernels.adam import adam, adam_plain
from inscape.dictionary.kernels.decode import (
    decode,
    decode_plain,
    reconstruct,
    value_gradients,
    value_gradients_plain,
)
from inscape.dictionary.kernels.gradients import weight_gradients, weight_gradients_plain
from inscape.dictionary.kernels.select import (
    keep_top,
    select_above,
    select_above_plain,
    select_half,
    select_half_plain,
    select_top,
    select_top_plain,
)
from inscape.dictionary.kernels.terms import (
    AdamStep,
    CodeGradient,
    RowBlock,
    RowTerms,
    WeightGradients,
)

__all__ = [
    "AdamStep",
    "CodeGradient",
    "RowBlock",
    "RowTerms",
    "WeightGradients",
    "adam",
    "adam_plain",
    "decode",
    "decode_plain",
    "keep_top",
    "reconstruct",
    "select_above",
    "select_above_plain",
    "select_half",
    "select_half_plain",
    "select_top",
    "select_top_plain",
    "use_kernels",
    "value_gradients",
    "value_gradients_plain",
    "weight_gradients",
    "weight_gradients_plain",
]
