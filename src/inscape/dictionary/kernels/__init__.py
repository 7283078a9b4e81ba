"""Kernels for sparse codes, each with a plain torch reference.

Numba is used for fp32 tensors on the CPU, Triton for those on a CUDA device that has passed a
comparison with the references, and the reference for anything else and within
`use_kernels("plain")`.
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
