"""Rows that hold the mathematics: graphs against interventions, gradients against autograd."""

from __future__ import annotations

from inscape.attribution import trace
from inscape.validation import check_edges
from inscape_microworld.benchmark.gradients import check_gradients
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.system import System

PROMPTS = (
    ("When Mary and John went to the store, John gave a drink to", " Mary", " John"),
    ("the capital of the country where the Colosseum stands is", None, None),
)


def edges(system: System, *, seed: int = 0) -> Row:
    """Every edge of two graphs, a logit difference and a next token, against interventions."""
    worst, count, zero, bias = 0.0, 0, 0, 0.0
    for prompt, target, against in PROMPTS:
        graph = trace(
            system.model,
            prompt,
            system.transcoders,
            target=target,
            against=against,
            node_share=1.0,
            edge_share=1.0,
        )
        check = check_edges(system.model, system.transcoders, graph, seed=seed)
        worst = max(worst, check.max_error)
        bias = max(bias, check.bias_error or 0.0)
        count, zero = count + check.num_edges, zero + check.num_zero
    return Row(
        "edges",
        "every edge against an intervention under the frozen model, fp32",
        (Check("largest error over the largest edge into the node", worst, "≤ 1e-4"),),
        samples=f"{count} edges of {len(PROMPTS)} graphs, {zero} of them zero",
        seed=seed,
        detail={"error of the constants": bias},
    )


def gradients(*, seed: int = 0, num_seeds: int = 3) -> Row:
    """The training step's gradients against autograd."""
    worst = max(check_gradients(seed + i) for i in range(num_seeds))
    return Row(
        "gradients",
        "training step against autograd, auxiliary loss included",
        (Check("largest relative error", worst, "≤ 1e-4"),),
        samples=f"autoencoder and transcoder, three numbers of dead features, {num_seeds} seeds",
        seed=seed,
    )
