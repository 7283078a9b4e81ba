"""The TopK variant: the k largest pre-activations of a row, those that are positive.

1. pre = (x - b_dec if subtracted) @ W_enc^T + b_enc, a chunk of rows at a time, written into one
   reused buffer (fresh outputs of that size cost more than the product).
2. The k largest positive entries of each row of the chunk are kept; the chunk is overwritten.
3. The auxiliary loss needs the largest entries among the dead features: they are taken from the
   same chunk, so that no second product is made.

Method: Gao et al. 2024, "Scaling and evaluating sparse autoencoders".
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.dictionary.code import Code
from inscape.dictionary.kernels import select_top

_BUFFER_ENTRIES = 1 << 19  # 2 MB of fp32: the chunk stays in the cache between product and scan


class TopKEncoder:
    """Encodes rows into `Code`s; holds the buffer that the chunks of pre-activations share.

    Not for use from several threads at once: make one encoder per thread.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._buffer: Tensor | None = None

    def encode(
        self,
        x: Float[Tensor, "batch d_in"],
        W_enc: Float[Tensor, "d_dict d_in"],
        b_enc: Float[Tensor, " d_dict"],
    ) -> Code:
        """The code of each row; `x` is what the encoder reads, after any subtraction."""
        return self.encode_with_dead(x, W_enc, b_enc)[0]

    def encode_with_dead(
        self,
        x: Float[Tensor, "batch d_in"],
        W_enc: Float[Tensor, "d_dict d_in"],
        b_enc: Float[Tensor, " d_dict"],
        *,
        dead: Int[Tensor, " num_dead"] | None = None,
        aux_k: int = 0,
    ) -> tuple[Code, Code | None]:
        """The code, and the code of the `aux_k` largest dead features (None without any)."""
        code = _empty(x, self.k)
        width = min(aux_k, 0 if dead is None else len(dead))
        extra = _empty(x, width) if width else None
        buffer = self._chunk(x, W_enc.shape[0])
        with torch.no_grad():
            for start in range(0, len(x), len(buffer)):
                rows = slice(start, min(start + len(buffer), len(x)))
                pre = buffer[: rows.stop - start]
                torch.addmm(b_enc, x[rows], W_enc.T, out=pre)
                select_top(pre, self.k, indices=code.indices[rows], values=code.values[rows])
                if extra is not None:
                    select_top(
                        pre,
                        width,
                        columns=dead,
                        indices=extra.indices[rows],
                        values=extra.values[rows],
                    )
        return code, extra

    def _chunk(self, x: Tensor, d_dict: int) -> Tensor:
        rows = max(1, _BUFFER_ENTRIES // d_dict)
        buffer = self._buffer
        wanted = (rows, d_dict)
        if buffer is None or buffer.shape != wanted or buffer.device != x.device:
            buffer = self._buffer = x.new_empty(wanted)
        return buffer


def _empty(x: Tensor, k: int) -> Code:
    indices = torch.empty((len(x), k), dtype=torch.int64, device=x.device)
    return Code(indices, x.new_empty((len(x), k)))
