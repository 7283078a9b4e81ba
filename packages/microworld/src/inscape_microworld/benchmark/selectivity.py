"""Does one feature know the Golden Gate Bridge from its name and from its description?

A text's score under a detector is its largest activation after BOS. Every detector (feature,
neuron, token, probe) is chosen or fitted on one half of the wordings and judged on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inscape.features import auroc_interval, aurocs
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.sets import bridge_texts
from inscape_microworld.benchmark.system import System
from inscape_microworld.skills import pad

BATCH = 64
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Scores of every detector of a kind on every text, [text, detector], by half."""

    selection: Floats
    judging: Floats


def selectivity(system: System, *, seed: int = 0) -> Row:
    """The row: the best feature; without a bar the best neuron, best token, supervised probe."""
    halves = [bridge_texts(half, seed) for half in (0, 1)]
    texts = [[*positive, *negative] for positive, negative in halves]
    truth = [np.array([1] * len(p) + [0] * len(n)) for p, n in halves]
    pooled = [_pooled(system, t) for t in texts]
    found = {}
    for kind in ("feature", "neuron", "token"):
        chosen, auroc = _best(Scores(pooled[0][kind], pooled[1][kind]), truth)
        found[kind] = (chosen, auroc, pooled[1][kind][:, chosen])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(pooled[0]["residual"], truth[0])
    scores = probe.decision_function(pooled[1]["residual"])
    feature, auroc, values = found["feature"]
    beside = {
        "best neuron": found["neuron"][1:],
        "best single token": found["token"][1:],
        "supervised probe": (float(aurocs(scores, truth[1])[0]), scores),
    }
    return Row(
        "selectivity",
        "best Golden Gate Bridge feature, by name and by description",
        (
            Check("AUROC", auroc, "≥ 0.95", auroc_interval(values, truth[1], seed=seed)),
            *(
                Check(f"{name}, AUROC", figure, "", auroc_interval(given, truth[1], seed=seed))
                for name, (figure, given) in beside.items()
            ),
        ),
        samples=f"{int(truth[1].sum())} positive and {int((1 - truth[1]).sum())} negative texts",
        seed=seed,
        detail={
            "feature": f"{system.residual.name}/{feature}",
            "label": system.label(system.residual.name, feature),
            "token": system.model.token_text(found["token"][0]),
        },
    )


def _best(scores: Scores, truth: Sequence[NDArray[np.int_]]) -> tuple[int, float]:
    """The detector with the highest AUROC on the selection half, and its AUROC on the other."""
    alive = np.flatnonzero(scores.selection.max(0) > scores.selection.min(0))
    chosen = int(alive[aurocs(scores.selection[:, alive], truth[0]).argmax()])
    return chosen, float(aurocs(scores.judging[:, chosen], truth[1])[0])


@torch.no_grad()
def _pooled(system: System, texts: Sequence[str]) -> dict[str, Floats]:
    """Largest value over the tokens of each text: features, neurons, tokens present, residual.

    Neurons are the hidden units of the MLP that ends in the dictionary's site.
    """
    model = system.model
    layer = model.site(system.site).layer or 0
    down = model.structure.blocks[layer].mlp
    last = [m for m in down.modules() if isinstance(m, torch.nn.Linear)][-1]
    hidden: list[torch.Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    rows: dict[str, list[torch.Tensor]] = {
        k: [] for k in ("feature", "neuron", "token", "residual")
    }
    batches = [texts[i : i + BATCH] for i in range(0, len(texts), BATCH)]
    try:
        for batch in batches:
            tokens = pad([model.encode(text) for text in batch]).to(model.device)
            real = pad([[1] * len(model.encode(text)) for text in batch]).bool().to(model.device)
            if model.bos_id is not None:
                real[:, 0] = False
            x = model.run(tokens, read=[system.site])[system.site].float()
            code = system.residual.encode(x)
            active = code.values.reshape(*real.shape, -1) * real[..., None]
            index = code.indices.reshape(len(batch), -1)
            feature = torch.zeros(len(batch), system.residual.d_dict, device=model.device)
            rows["feature"].append(
                feature.scatter_reduce(1, index, active.reshape(len(batch), -1), "amax")
            )
            low = torch.tensor(-torch.inf, device=model.device)
            rows["neuron"].append(hidden.pop().where(real[..., None], low).amax(1))
            present = torch.zeros(len(batch), model.vocab_size, device=model.device)
            rows["token"].append(present.scatter_add(1, tokens, real.float()).clamp(max=1))
            rows["residual"].append(x.where(real[..., None], low).amax(1))
    finally:
        handle.remove()
    return {name: torch.cat(values).double().cpu().numpy() for name, values in rows.items()}
