"""Does one feature know a concept in wordings that it was not chosen on?

A text's score under a feature is its largest activation after beginning-of-text. The feature with
the highest AUROC on the texts of the first half is judged on those of the second, which share no
wording with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inscape.core import InputError
from inscape.features import auroc_interval, aurocs
from inscape.model import Model
from inscape_microworld.benchmark.interface import Features
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.skills import pad

BATCH = 64
Texts = tuple[Sequence[str], Sequence[str]]
"""(positives, negatives)."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WordingMatch:
    """A system's best feature for a concept, chosen on one half of the texts."""

    concept: str
    system: str
    feature: int
    selection_auroc: float
    auroc: float
    interval: tuple[float, float]
    num_positives: int
    num_negatives: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "interval": list(self.interval)}


def best_wordings(
    model: Model,
    systems: Sequence[Features],
    concept: str,
    halves: tuple[Texts, Texts],
    *,
    seed: int = 0,
) -> list[WordingMatch]:
    """For each system its best feature on the first half, judged on the second.

    Raises:
        InputError: a half has no positive or no negative text.
    """
    for positive, negative in halves:
        if not positive or not negative:
            raise InputError(
                f"{concept} has {len(positive)} positive and {len(negative)} negative texts",
                expected="at least one of each in both halves",
            )
    truth = [np.array([1] * len(p) + [0] * len(n)) for p, n in halves]
    sites = sorted({s.site for s in systems})
    acts = [_read(model, [*positive, *negative], sites) for positive, negative in halves]
    found = []
    for system in systems:
        first, second = (_scores(system, *half) for half in acts)
        found_aurocs = aurocs(first, truth[0])
        feature = int(found_aurocs.argmax())
        judged = float(aurocs(second[:, feature], truth[1])[0])
        interval = auroc_interval(second[:, feature], truth[1], seed=seed)
        counts = int(truth[1].sum()), int((1 - truth[1]).sum())
        chosen = float(found_aurocs[feature])
        found.append(WordingMatch(concept, system.name, feature, chosen, judged, interval, *counts))
    return found


@torch.no_grad()
def _read(
    model: Model, texts: Sequence[str], sites: Sequence[str]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Activations [tokens, d_model] of each site after beginning-of-text, and each token's text."""
    parts: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    owners: list[torch.Tensor] = []
    skip = 0 if model.bos_id is None else 1
    for begin in range(0, len(texts), BATCH):
        ids = [model.encode(text) for text in texts[begin : begin + BATCH]]
        run = model.run(pad(ids).to(model.device), read=sites)
        for i, row in enumerate(ids):
            owners.append(torch.full((len(row) - skip,), begin + i))
            for site in sites:
                parts[site].append(run[site][i, skip : len(row)].float().cpu())
    return {site: torch.cat(found) for site, found in parts.items()}, torch.cat(owners)


def _scores(system: Features, acts: Mapping[str, torch.Tensor], owners: torch.Tensor) -> Floats:
    """Largest activation of every feature on every text, [text, feature]."""
    best = torch.zeros((int(owners.max()) + 1) * system.num_features)
    rows, features, values = (t.cpu() for t in system.encode(acts[system.site]))
    place = owners[rows] * system.num_features + features
    best.scatter_reduce_(0, place, values.detach().float(), "amax")
    return best.reshape(-1, system.num_features).double().numpy()


def row(
    found: Sequence[WordingMatch], bars: Mapping[str, str] | None = None, name: str = "wordings"
) -> Row:
    """A check a concept and system; `bars` by "concept, system"."""
    given = bars or {}
    return Row(
        name,
        "best feature on wordings that it was not chosen on, AUROC",
        tuple(
            Check(label, m.auroc, given.get(label, ""), m.interval)
            for m in found
            for label in (f"{m.concept}, {m.system}",)
        ),
        samples=", ".join(
            sorted({f"{m.concept} {m.num_positives}+{m.num_negatives} texts" for m in found})
        ),
        detail={"features": {f"{m.concept}, {m.system}": m.feature for m in found}},
    )
