"""The same labeller on features that nobody learnt: is it the dictionary that names tell of?

1. Three dictionaries of one shape and, on tokens of the text, one mean number of active features:
   the middle one of the atlas; one with the weights that training begins with, and one threshold
   for all; and random directions, each with the threshold by which it is active as often as a
   feature of the first.
2. All are indexed in one pass of the model, in bf16, over documents that no dictionary learnt from.
3. As many features of each, drawn at random, are labelled and scored alike.

Neurons are the row atlas-labels-neurons.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from benchmarks.atlas.concepts import opened
from benchmarks.atlas.dictionary import HELD_OUT
from benchmarks.atlas.labels import NUM_WINDOWS, drafted, median, middle
from benchmarks.measurement import Absent, Measurement, Run
from inscape import Atlas
from inscape.activations import TextActivations
from inscape.core import Share, seeded
from inscape.dictionary import Dictionary
from inscape.features import build_indexes
from inscape.model import Model
from inscape.training import initial_weights
from inscape_microworld.benchmark import Check, Row

TOKENS = int(os.environ.get("INSCAPE_CONTROL_TOKENS", "300000"))
NUM_FEATURES = 300
SAMPLE = 4096  # tokens that thresholds are set on
ROWS = 512  # features at a time
TRAINED, UNTRAINED, RANDOM = "trained", "untrained", "random-directions"


def controls(run: Run) -> Row:
    """Names and their scores, of the atlas's dictionary and of two that nobody trained."""
    atlas = opened()
    if not HELD_OUT.is_file():
        raise Absent(f"it needs {HELD_OUT}")
    model = _model(atlas)
    name = middle([n for n in atlas.dictionary_names if n.startswith("resid_post")])
    source = TextActivations(model, HELD_OUT, max_tokens=TOKENS)
    made = dictionaries(atlas.dictionary(name), source, run.seed)
    places = {run.folder / "features" / one.name: one for one in made}
    checks, detail = [], {}
    for index in build_indexes(model, places, source):
        labeller, _, labels = drafted(index, run.folder / "parts", run.seed, NUM_FEATURES)
        named = [one for one in labels if one.name]
        share = Share(len(named), len(labels))
        of = {
            name: median([getattr(one, name) for one in named])
            for name in ("auroc", "auroc_near", "shuffled", "auroc_text")
        }
        known = index.dictionary
        checks += [
            Check(f"{known}: share with a name", share.value, "", share.interval),
            Check(f"{known}: AUROC against random windows, median", of["auroc"], ""),
            Check(f"{known}: against near windows", of["auroc_near"], ""),
            Check(f"{known}: another feature's label", of["shuffled"], ""),
        ]
        tellable = sum(labeller.tellable(f) is True for f in range(index.num_features))
        detail[known] = {
            "features drawn": len(labels),
            "active often enough": f"{tellable} of {index.num_features}",
            "mean active per token": int(index.num_active.sum()) / index.num_considered,
            "the text alone": of["auroc_text"],
        }
    return Row(
        "atlas-labels-controls",
        "labels of a dictionary beside those of features that nobody learnt",
        tuple(checks),
        f"{name}, {index.num_considered} tokens of documents held out, {NUM_WINDOWS} windows of "
        "each kind",
        seed=run.seed,
        detail=detail,
    )


def _model(atlas: Atlas) -> Model:
    """The atlas's model, in bf16."""
    told = atlas.record["model"]
    return Model.open(told["source"], bos=told["bos"], dtype=torch.bfloat16)


def dictionaries(trained: Dictionary, source: TextActivations, seed: int) -> list[Dictionary]:
    """The trained one, and its two controls."""
    (site,) = trained.reads
    pieces = []
    for tokens, acts in source.pieces([site]):
        pieces.append(acts[site][torch.from_numpy(tokens.kept)].float())
        if sum(map(len, pieces)) >= SAMPLE:
            break
    x = torch.cat(pieces)[:SAMPLE]
    code = trained.encode(x)
    often = torch.bincount(code.indices[code.active], minlength=trained.d_dict)
    shape = trained.config.model_copy(
        update={
            "kind": "threshold",
            "subtract_b_dec": True,
            "normalize": "none",
            **dict.fromkeys(("signed", "weighted", "glu", "skip"), False),
            "scope": "token",
        }
    )
    found = [trained.renamed(TRAINED)]
    for name in (UNTRAINED, RANDOM):
        begin = initial_weights(
            shape, sample=x, target_mean=x.mean(0), seed=seeded(seed, "controls", name)
        )
        threshold = _thresholds(x - begin["b_dec"], begin["W_enc"], often, each=name == RANDOM)
        found.append(Dictionary(shape, {**begin, "threshold": threshold}, name=name))
    return found


def _thresholds(x: Tensor, directions: Tensor, often: Tensor, *, each: bool) -> Tensor:
    """Thresholds [features] above which directions are active on as many tokens x as `often` says:
    `each` by itself, or all together with one threshold."""
    parts = [directions[first : first + ROWS] @ x.T for first in range(0, len(directions), ROWS)]
    if each:  # a new token is above the n-th largest of N with the chance n / (N + 1)
        never = torch.full((len(directions), 1), torch.inf)
        ordered = torch.cat([part.sort(1, descending=True).values for part in parts])
        return torch.cat([never, ordered], 1).gather(1, often[:, None])[:, 0].clamp_min(0)
    pre = torch.cat(parts).numpy().ravel()
    total = min(max(1, int(often.sum())), pre.size - 1)
    cut = float(np.partition(pre, -total - 1)[-total - 1])
    return torch.full((len(directions),), max(0.0, cut))


FIGURES = {"atlas-labels-controls": Measurement(controls, seeded=False)}
