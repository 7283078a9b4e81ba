"""Which features are at work in a prompt, as a search.

1. Three figures of a feature: its largest activation, as a share of the largest in the index; how
   rare it is, -log10 of its density; and its effect on the model's own next token, summed over
   positions (activity.py).
2. Two rankings, by share × rarity and by the size of the effect, are fused: a feature's score is
   the mean over both of K / (K + its place) (reciprocal rank fusion, Cormack et al. 2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.core import quoted
from inscape.dictionary import Dictionary
from inscape.features.activity import prompt_activity
from inscape.features.search import Hit
from inscape.model import Model, Source

K = 10  # places in a ranking after which half of the score is left


@dataclass(frozen=True)
class Reference:
    """What the activations of a dictionary's features are held against, [m] each: the largest
    activation and the density of an index."""

    highest: NDArray[np.floating]
    density: NDArray[np.floating]


def search_prompt(
    model: Model, sources: Mapping[str, tuple[Dictionary, Reference]], prompt: Source, limit: int
) -> list[Hit]:
    """The features that a prompt activates, by their part in it, at most `limit`."""
    read = prompt_activity(model, {name: d for name, (d, _) in sources.items()}, prompt)
    found = []
    for name, (_, reference) in sources.items():
        of = read.of[name]
        index, places, values, effects = of.features, of.positions, of.values, of.effects
        for feature in np.unique(index[values > 0]).tolist():
            here = np.flatnonzero(index == feature)
            peak = here[values[here].argmax()]
            share = min(1.0, float(values[peak] / max(reference.highest[feature], 1e-12)))
            density, total = float(reference.density[feature]), float(effects[here].sum())
            found.append((name, feature, int(places[peak]), share, density, total))
    tokens = read.prompt.texts
    said = model.token_text(read.answer)
    strength = [share * -np.log10(density + 1e-7) for *_, share, density, _ in found]
    sizes = [abs(effect) for *_, effect in found]
    scores = fused([strength, sizes], K)
    order = sorted(range(len(found)), key=lambda i: (-scores[i], found[i][:2]))
    hits = []
    for i in order[:limit]:
        name, feature, peak, share, density, effect = found[i]
        why = (
            f"on {quoted(tokens[peak])} at {share:.0%} of its largest activation; active on "
            f"{density:.2%} of tokens; {effect:+.2f} nats for {quoted(said)}"
        )
        figures = {"share": share, "density": density, "effect": effect}
        hits.append(Hit(name, feature, float(scores[i]), ("prompt",), why, figures))
    return hits


def fused(rankings: Sequence[Sequence[float]], k: int) -> NDArray[np.float64]:
    """The mean over rankings of k / (k + place), the highest value being at place 0, equal ones at
    the same place."""
    total = np.zeros(len(rankings[0]))
    for values in rankings:
        array = -np.asarray(values, np.float64)
        total += k / (k + np.searchsorted(np.sort(array), array))
    fusion: NDArray[np.float64] = total / len(rankings)
    return fusion
