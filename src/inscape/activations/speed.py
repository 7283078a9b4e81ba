"""What it takes to read a model's activations: its memory, and how fast it gets to a site."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from inscape.model import Model, Site

_TOKENS, _CONTEXT, _REPEATS = 2048, 256, 3


@dataclass(frozen=True)
class Reading:
    """d_model: width of the activations. memory_bytes: of the parameters. tokens_per_second: of the
    forward pass up to the site, over rows of 256 tokens."""

    site: str
    d_model: int
    memory_bytes: int
    tokens_per_second: float


def measure_reading(model: Model, site: str | Site) -> Reading:
    """Measure it: the median of three passes over random tokens, after one that warms up.

    Raises:
        SiteError: the model has no such site.
    """
    read = model.site(site)
    length = min(_CONTEXT, model.context_length)
    generator = torch.Generator().manual_seed(0)
    rows = max(1, _TOKENS // length)
    ids = torch.randint(model.vocab_size, (rows, length), generator=generator).to(model.device)
    times = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        model.run(ids, read=[read])[read].sum().item()  # the sum waits for a GPU
        times.append(time.perf_counter() - began)
    parameters = model.module.parameters()
    return Reading(
        site=str(read),
        d_model=model.d_model,
        memory_bytes=sum(p.numel() * p.element_size() for p in parameters),
        tokens_per_second=ids.numel() / statistics.median(times[1:]),
    )
