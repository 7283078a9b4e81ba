"""Which features are at work in a prompt.

1. The prompt is read once. At each site that a dictionary writes a change of nought is added; the
   gradient of the log-probability of the model's own next token with respect to it says what each
   direction does for that answer.
2. Three figures of a feature: its largest activation, as a share of the largest in the index; how
   rare it is, -log10 of its density; and its effect, Σ over positions of activation · (W_dec[f] ·
   gradient): what the answer would lose in nats, to first order, without the feature (attribution
   patching, Nanda 2023).
3. Two rankings, by share × rarity and by the size of the effect, are fused: a feature's score is
   the mean over both of K / (K + its place) (reciprocal rank fusion, Cormack et al. 2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import quoted
from inscape.dictionary import Dictionary
from inscape.features.search import Hit
from inscape.model import Model, Prompt, Source

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
    given = model.prompt(prompt)
    read, grads, answer = _read(model, given, [dictionary for dictionary, _ in sources.values()])
    found = []
    for name, (dictionary, reference) in sources.items():
        parts = {site: read[site] for site in dictionary.reads}
        code = dictionary.encode(dictionary.concat_sites(parts)).ragged()
        grad = torch.cat([grads[site] for site in dictionary.writes], -1).to(dictionary.W_dec)
        per_entry = dictionary.config.wiring.value_gradients(code, dictionary.W_dec, grad)
        index, rows = code.indices.cpu().numpy(), code.rows.cpu().numpy()
        values, effects = (x.float().cpu().numpy() for x in (code.values, per_entry * code.values))
        for feature in np.unique(index[values > 0]).tolist():
            here = np.flatnonzero(index == feature)
            peak = here[values[here].argmax()]
            share = min(1.0, float(values[peak] / max(reference.highest[feature], 1e-12)))
            density, total = float(reference.density[feature]), float(effects[here].sum())
            found.append((name, feature, int(rows[peak]), share, density, total))
    tokens = [
        text for text, counts in zip(given.texts, given.counted.tolist(), strict=True) if counts
    ]
    strength = [share * -np.log10(density + 1e-7) for *_, share, density, _ in found]
    sizes = [abs(effect) for *_, effect in found]
    scores = fused([strength, sizes], K)
    order = sorted(range(len(found)), key=lambda i: (-scores[i], found[i][:2]))
    hits = []
    for i in order[:limit]:
        name, feature, peak, share, density, effect = found[i]
        why = (
            f"{share:.0%} of its largest activation, on {quoted(tokens[peak])}; active on "
            f"{density:.2%} of tokens; {effect:+.2f} nats for {quoted(answer)}"
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


def _read(
    model: Model, prompt: Prompt, dictionaries: Sequence[Dictionary]
) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """At the positions that count, activations by site that is read and gradients by site that is
    written; and the next token that these are of."""
    leaves: dict[str, Tensor] = {}

    def leaf(site: str, x: Tensor) -> Tensor:
        leaves[site] = torch.zeros_like(x, requires_grad=True)
        return x + leaves[site]

    reads = dict.fromkeys(str(site) for d in dictionaries for site in d.reads)
    writes = dict.fromkeys(str(site) for d in dictionaries for site in d.writes)
    run = model.run(
        prompt,
        read=[*reads, "final"],
        edits={site: partial(leaf, site) for site in writes},
        grad=True,
    )
    logits = model.unembed(run["final"][0, -1]).float()
    log_probability, answer = logits.log_softmax(-1).max(-1)
    torch.autograd.backward(log_probability)
    counted = prompt.counted
    read = {site: run[site].detach()[0][counted] for site in reads}
    grads = {}
    for site in writes:
        grad = leaves[site].grad
        grads[site] = (torch.zeros_like(leaves[site]) if grad is None else grad)[0][counted]
    text = model.token_text(int(answer)) if model.tokenizer is not None else f"<{int(answer)}>"
    return read, grads, text
