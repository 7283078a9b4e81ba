"""Above what a feature of a dense dictionary counts as active: a quantile of its own activations.

1. Rows from all over the text, about SAMPLE tokens, are read and encoded.
2. Of each feature the largest values are kept as they come, as many as the fraction DENSE of the
   sample: the smallest of them is its threshold.

A neuron is never silent: without thresholds its density would be one, its examples noise, and its
activations on disk as many as there are tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inscape.activations import ActivationStore, TextActivations
from inscape.core import seeded
from inscape.dictionary import Dictionary

DENSE = 0.01
SAMPLE = 32768
_ROWS = 512


def is_dense(dictionary: Dictionary) -> bool:
    """Whether its features are hardly ever silent: the neurons."""
    return str(dictionary.config.kind) == "neurons"


def thresholds(
    dictionaries: Sequence[Dictionary], source: ActivationStore | TextActivations
) -> dict[str, Float[Tensor, " d_dict"]]:
    """The thresholds of each dictionary's features, by its name."""
    if not dictionaries:
        return {}
    sites = list(dict.fromkeys(site for d in dictionaries for site in d.reads))
    most = int(np.ceil(DENSE * SAMPLE)) + 1
    largest = {d.name: torch.zeros((0, d.d_dict)) for d in dictionaries}
    total = 0
    for acts in _sample(source, sites):
        num = len(acts[sites[0]])
        total += num
        for d in dictionaries:
            for start in range(0, num, _ROWS):
                part = {site: acts[site][start : start + _ROWS].float() for site in d.reads}
                dense = d.encode(d.concat_sites(part)).dense(d.d_dict).cpu()
                values = torch.cat([largest[d.name], dense])
                largest[d.name] = values.topk(min(most, len(values)), dim=0).values
    place = max(1, min(most, int(DENSE * total))) - 1
    return {name: values[place] for name, values in largest.items()}


def _sample(
    source: ActivationStore | TextActivations, sites: Sequence[str]
) -> Iterator[dict[str, Tensor]]:
    """Activations of tokens that count, a piece at a time."""
    if isinstance(source, ActivationStore):
        kept = np.flatnonzero(source.tokens().kept)
        order = np.random.default_rng(seeded(0, "sample")).permutation(kept)[:SAMPLE]
        for rows in np.array_split(np.sort(order), max(1, len(order) // 4096)):
            yield {site: torch.from_numpy(source.read(site, rows)) for site in sites}
        return
    for tokens, acts in source.sample(sites, SAMPLE):
        kept_rows = torch.from_numpy(np.asarray(tokens.kept))
        yield {site: acts[site][kept_rows] for site in sites}
