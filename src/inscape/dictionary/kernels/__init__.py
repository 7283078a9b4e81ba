"""Kernels for sparse codes: numba on the CPU, and a plain torch reference beside each.

The public functions take torch tensors; they use numba for fp32 tensors on the CPU and the plain
reference for anything else.
"""

from inscape.dictionary.kernels.adam import AdamStep, adam, adam_plain
from inscape.dictionary.kernels.decode import (
    decode,
    decode_plain,
    value_gradients,
    value_gradients_plain,
)
from inscape.dictionary.kernels.gradients import (
    CodeGradient,
    RowTerms,
    WeightGradients,
    weight_gradients,
    weight_gradients_plain,
)
from inscape.dictionary.kernels.select import (
    select_above,
    select_above_plain,
    select_top,
    select_top_plain,
)

__all__ = [
    "AdamStep",
    "CodeGradient",
    "RowTerms",
    "WeightGradients",
    "adam",
    "adam_plain",
    "decode",
    "decode_plain",
    "select_above",
    "select_above_plain",
    "select_top",
    "select_top_plain",
    "value_gradients",
    "value_gradients_plain",
    "weight_gradients",
    "weight_gradients_plain",
]
