"""Edges against interventions in the frozen model; edges and scores of attention split exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tests.attribution.random_transcoders import TOKENS, random_dictionary, random_transcoders
from tests.families import TINY_FAMILIES, tiny

from benchmarks.measurement import Absent, Measurement, Run
from benchmarks.traces.prompts import DATA, smollm2
from inscape import Atlas
from inscape.attribution import explain_attention, trace
from inscape.attribution.attention import HeadSplit
from inscape.attribution.bases import find_bases
from inscape.attribution.jacobian import Rows
from inscape.attribution.ranking import Linear, choose
from inscape.attribution.sources import lay_out, read
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation import check_edges
from inscape_microworld.benchmark import Check, Row

SOFT_CAP = {"gemma2"}  # scores that are bent are refused
NUM_EDGES = 500
PAELLA = "Paella is a dish from the country of"
SHIPPED = Path(__file__).resolve().parents[2] / "models" / "smollm2-atlas"


def edges(run: Run) -> Row:
    """Every edge of every family in three bases; SmolLM2's with the dictionaries of its atlas."""
    worst: dict[str, float] = {}
    count = 0
    for family in TINY_FAMILIES:
        model = Model.wrap(tiny(family), name=family)
        for name, made in _bases(model).items():
            heads = name.endswith("heads")
            graph = trace(model, TOKENS, made, max_features=60, head_nodes=heads, verified=0)
            found = check_edges(model, made, graph)
            count += found.num_edges
            error = max(found.max_error, found.bias_error or 0.0)
            worst[name] = max(worst.get(name, 0.0), error)
    stories = DATA / "stories260k"
    detail: dict[str, object] = {"families": len(TINY_FAMILIES), "edges of families": count}
    if stories.is_dir():
        model = Model.open(str(stories))
        graph = trace(model, "Once upon a time, there was a little girl named", verified=0)
        found = check_edges(model, [], graph)
        worst["stories260k, neurons"] = found.max_error
        detail["edges of stories260k"] = found.num_edges
    model, made = _smollm2()
    graph = trace(model, PAELLA, made, target=" Italy", against=" Spain", verified=0)
    found = check_edges(model, made, graph, num_edges=NUM_EDGES, seed=run.seed)
    worst["SmolLM2, neurons and dictionaries"] = found.max_error
    detail["edges of SmolLM2"] = found.num_edges
    return Row(
        "trace-edges",
        "edges against a direct intervention in the frozen model, of the largest into the node",
        tuple(Check(name, error, "≤ 0.0001") for name, error in worst.items()),
        f"every edge of {len(TINY_FAMILIES)} tiny families; of SmolLM2 a sample",
        seed=run.seed,
        detail=detail,
    )


def _bases(model: Model) -> dict[str, Sequence[Dictionary]]:
    site = "resid_post.1"
    return {
        "families, neurons": (),
        "families, transcoders": tuple(random_transcoders(model).values()),
        "families, neurons and heads": (),
        "families, a dictionary of the stream": (random_dictionary(site, site, d=model.d_model),),
    }


def _smollm2() -> tuple[Model, list[Dictionary]]:
    model = smollm2()
    if not SHIPPED.is_dir():
        raise Absent(f"it needs {SHIPPED}")
    return model, Atlas.open(SHIPPED, model=model).traced()


def attention(run: Run) -> Row:
    """Edges as the sum over heads, and scores as the sum over pairs, relative to the largest."""
    heads, pairs = 0.0, 0.0
    for family in TINY_FAMILIES:
        model = Model.wrap(tiny(family), name=family)
        heads = max(heads, _heads(model, list(TOKENS)))
        if family not in SOFT_CAP:
            pairs = max(pairs, _pairs(model, list(TOKENS), layer=1, head=3, query=5, key=2))
    model = smollm2()
    ids = list(model.prompt(PAELLA).ids)
    return Row(
        "trace-heads",
        "edges split by head and scores split by pairs of nodes add up",
        (
            Check("families: heads", heads, "≤ 1e-05"),
            Check("families: pairs", pairs, "≤ 1e-05"),
            Check("SmolLM2: heads", _heads(model, ids), "≤ 1e-05"),
            Check("SmolLM2: pairs", _pairs(model, ids, 20, 0, len(ids) - 1, 2), "≤ 1e-05"),
        ),
        f"{len(TINY_FAMILIES)} families; one prompt of SmolLM2",
        seed=None,
    )


def _heads(model: Model, ids: list[int]) -> float:
    reading = read(model, find_bases(model, [])[0], model.prompt(ids))
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    last = len(ids) - 1
    sources = lay_out(reading, choose(reading, [Linear(last, vector, 1.0)], 60))
    position, vectors = torch.tensor([last]), vector[None]
    whole = Rows(sources, 1).logits(position, vectors)
    parts = HeadSplit(sources)("final", position, vectors)
    return float((parts.sum(1) - whole).abs().max() / whole.abs().max())


def _pairs(model: Model, ids: list[int], layer: int, head: int, query: int, key: int) -> float:
    found = explain_attention(model, ids, layer=layer, head=head, query=query, key=key)
    total = sum(pair.value for pair in found.pairs) + found.rest
    scores: dict[int, list] = {layer: []}  # type: ignore[type-arg]
    with model.linearised(looking=scores):
        model.run(model.prompt(ids), read=["final"])
    measured = float(scores[layer][0].scores[head, query, key])
    largest = max(abs(pair.value) for pair in found.pairs)
    return max(abs(total - measured), abs(found.score - measured)) / max(largest, abs(measured))


FIGURES = {
    "trace-edges": Measurement(edges, seeded=False),
    "trace-heads": Measurement(attention, seeded=False),
}
