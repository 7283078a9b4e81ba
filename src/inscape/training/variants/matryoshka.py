"""Matryoshka BatchTopK: nested prefixes of the features, each of which has to reconstruct.

1. Entries are selected as in BatchTopK, once for all features.
2. Features belong to groups; prefix p holds the groups up to p. The loss is the sum over prefixes
   of the variance that the prefix leaves unexplained.
3. A feature of group g belongs to all prefixes from g on, so its gradient is that of their sum.

Bussmann et al. 2025, "Learning multi-level features with Matryoshka sparse autoencoders".
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from inscape.core import Config, InputError
from inscape.dictionary import DictionaryConfig
from inscape.training.variants.base import Options
from inscape.training.variants.batch_topk import BatchTopK

DEFAULT = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


class MatryoshkaOptions(Options):
    """prefixes: sizes of the prefixes as fractions of d_dict, ascending, the last one 1."""

    prefixes: tuple[float, ...] = Field(default=DEFAULT)


class Matryoshka(BatchTopK):
    """General features come first; specific ones do not replace them."""

    name: ClassVar[str] = "matryoshka"
    near_tokens: ClassVar[bool] = False  # not measured
    Options: ClassVar[type[Config]] = MatryoshkaOptions  # type: ignore[assignment]

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        super().__init__(shape, options, num_steps)
        if shape.cross_layer:
            raise InputError(
                "a cross-layer transcoder has no prefixes: its features are sorted by layer",
                expected="another variant than matryoshka",
            )
        prefixes = list(options.prefixes)
        sizes = [round(part * shape.d_dict) for part in prefixes]
        if not prefixes or prefixes[-1] != 1 or min(sizes) < 1 or sorted(set(sizes)) != sizes:
            raise InputError(
                f"prefixes {', '.join(map(str, prefixes))} of {shape.d_dict} features",
                expected="ascending fractions that differ by at least one feature, the last one 1",
            )
        counts = torch.tensor(sizes).diff(prepend=torch.zeros(1, dtype=torch.int64))
        self._groups = torch.repeat_interleave(torch.arange(len(sizes)), counts)

    @property
    def groups(self) -> Int[Tensor, " d_dict"] | None:
        """The first prefix that holds each feature."""
        return self._groups
