"""Completeness and replacement of graphs by a cross-layer transcoder of the small world."""

from __future__ import annotations

import numpy as np

from benchmarks.measurement import Measurement, Run
from benchmarks.traces.world import indirect_objects, microworld
from inscape.activations import OnlineActivations
from inscape.attribution import trace
from inscape.core import bootstrap_mean
from inscape.training import train
from inscape_microworld import corpus, write_corpus
from inscape_microworld.benchmark import Check, Row

NUM_DOCUMENTS, TEXT_TOKENS = 60_000, 1_000_000
FEATURES, ACTIVE, TRAIN_TOKENS = 2048, 32, 3_000_000  # for each layer; active on a token
NUM_PROMPTS = 40
_KINDS = ("mlp_in", "mlp_out")


def cross_layer(run: Run) -> Row:
    """One for all layers, trained on the world's own text; graphs of held-out prompts."""
    model = microworld()
    text = run.folder / "corpus.jsonl"
    run.folder.mkdir(parents=True, exist_ok=True)
    if not text.is_file():
        write_corpus(text, corpus(NUM_DOCUMENTS, run.seed))
    reads, writes = ([f"{kind}.{n}" for n in range(model.num_layers)] for kind in _KINDS)
    made = train(
        OnlineActivations(model, text, [*reads, *writes], max_tokens=TEXT_TOKENS),
        "+".join(reads),
        "+".join(writes),
        run.folder / "clt",
        d_dict=FEATURES * model.num_layers,
        k=ACTIVE * model.num_layers,
        tokens=TRAIN_TOKENS,
        variant="batch_topk",
        seed=run.seed,
    )
    scores = []
    for one in indirect_objects(NUM_PROMPTS, run.seed):
        graph = trace(
            model, one.prompt, [made], target=one.answers[0], against=one.wrong[0], verified=0
        )
        scores.append((graph.scores.completeness, graph.scores.replacement, graph.scores.unknown))
    complete, replacement, unknown = np.array(scores).T
    return Row(
        "trace-cross-layer",
        "microworld: graphs through a cross-layer transcoder",
        (
            Check(
                "completeness",
                float(complete.mean()),
                "≥ 0.9",
                bootstrap_mean(complete.tolist(), run.seed),
            ),
            Check(
                "replacement",
                float(replacement.mean()),
                "≥ 0.8",
                bootstrap_mean(replacement.tolist(), run.seed),
            ),
        ),
        f"{NUM_PROMPTS} prompts of indirect objects; {FEATURES} features a layer, {ACTIVE} active, "
        f"{TRAIN_TOKENS:,} tokens of training",
        seed=run.seed,
        detail={"unknown": float(unknown.mean()), "figures": dict(made.made_from["figures"])},
    )


FIGURES = {"trace-cross-layer": Measurement(cross_layer)}
