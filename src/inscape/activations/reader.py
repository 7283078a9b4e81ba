"""The model read over a pool of rows: activations by site, and which tokens count.

1. Rows of similar length are read together, so that there is little padding. The model is causal
   and padding is on the right: padded positions are dropped and no mask is needed. The forward pass
   stops at the last site that is wanted.
2. Beginning-of-text tokens and attention sinks do not count. What a massive norm is follows from
   the medians of the first pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.corpus import Pool
from inscape.activations.shards import BOS, SINK
from inscape.activations.statistics import find_sinks
from inscape.core import DataError
from inscape.model import Model


class Reader:
    """Reads pools at some sites. medians: median norm by site, from the first pool."""

    def __init__(self, model: Model, sites: list[str], batch_tokens: int) -> None:
        self.model, self.sites, self.batch_tokens = model, sites, batch_tokens
        self.medians: dict[str, float] = {}

    def read(self, pool: Pool, into: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """bf16 activations [tokens, width] of every site, in the pool's order; written into
        the front of longer tensors where those are given."""
        acts = {site: x[: len(pool.ids)] for site, x in (into or {}).items()}
        order = np.argsort(pool.lengths, kind="stable")
        ids = torch.from_numpy(pool.ids.astype(np.int64))
        start = 0
        while start < len(order):
            rows = order[start:]
            # Lengths ascend: the batch takes rows while their number times the longest fits.
            fits = np.arange(1, len(rows) + 1) * pool.lengths[rows] <= self.batch_tokens
            rows = rows[: max(1, int(fits.sum()))]
            start += len(rows)
            lengths = pool.lengths[rows]
            columns = np.arange(lengths.max())
            real = torch.from_numpy(columns[None, :] < lengths[:, None])
            places = torch.from_numpy(pool.starts[rows][:, None] + columns)[real]
            tokens = torch.zeros(real.shape, dtype=torch.int64)
            tokens[real] = ids[places]
            run = self.model.run(tokens.to(self.model.device), read=self.sites)
            for site in self.sites:
                part = run[site].to(dtype=torch.bfloat16, device="cpu")
                if site not in acts:
                    size = len(ids), part.shape[-1]
                    acts[site] = torch.empty(size, dtype=torch.bfloat16)
                acts[site][places] = part[real]
        return acts

    def flags(self, pool: Pool, norms: dict[str, Tensor]) -> NDArray[Any]:
        """Which tokens do not count, and why: uint8 [tokens]; 0 where they do.

        Raises:
            DataError: an activation is not finite.
        """
        for site, values in norms.items():
            if not bool(torch.isfinite(values).all()):
                token = int((~torch.isfinite(values)).nonzero()[0])
                row = int(np.searchsorted(pool.starts, token, side="right")) - 1
                raise DataError(
                    f"the model's activation at {site} is not finite at position "
                    f"{token - pool.starts[row]} of document {pool.document[row]}",
                    next_step="leave that document out, or open the model in float32",
                )
        bos = torch.zeros(len(pool.ids), dtype=torch.bool)
        if self.model.bos_id is not None:
            bos[torch.from_numpy(pool.starts)] = True
        # Massive norms are a matter of the residual stream; an MLP's output is heavy-tailed.
        judged = {site: values for site, values in norms.items() if site.startswith("resid_")}
        judged = judged or norms
        if not self.medians:
            self.medians = {site: float(v[~bos].median()) for site, v in judged.items()}
        sinks = find_sinks(judged, self.medians) & ~bos
        return (bos * BOS + sinks * SINK).to(torch.uint8).numpy()
