"""Predicted effects of features beside those measured in the model as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.measurement import Measurement, Run
from benchmarks.traces import world
from benchmarks.traces.prompts import capitals, content, indirect_objects, says, smollm2
from inscape.attribution import trace
from inscape.attribution.verify import spearman
from inscape.core import bootstrap_mean
from inscape.model import Model
from inscape_microworld.benchmark import Check, Row

NUM_PROMPTS, NUM_NODES = 30, 300


def effects(run: Run) -> Row:
    """Rank correlation over the nodes of each graph, the mean over prompts; of the graph's
    influence beside it, which holds attention and norms still and drops signs."""
    checks, detail = [], {}
    for name, made in MODELS.items():
        model, prompts = made(run.seed)
        found = [_agreement(model, *prompt) for prompt in prompts]
        moving = [one for one, _ in found]
        checks.append(
            Check(
                f"{name}: predicted effect",
                float(np.mean(moving)),
                "≥ 0.85",
                bootstrap_mean(moving, run.seed),
            )
        )
        influence = [two for _, two in found]
        detail[f"{name}: the graph's influence, by size"] = float(np.mean(influence))
        detail[f"{name}: least of a prompt"] = min(moving)
        detail[f"{name}: prompts"] = len(prompts)
    return Row(
        "trace-effects",
        f"neurons: effect on the answer against ablation in the model as it is, {NUM_NODES} nodes",
        tuple(checks),
        f"{NUM_PROMPTS} prompts each",
        seed=run.seed,
        detail=detail,
    )


def _agreement(model: Model, prompt: str, target: str, against: str) -> tuple[float, float]:
    graph = trace(
        model, prompt, target=target, against=against, max_features=NUM_NODES, verified=NUM_NODES
    )
    nodes = [node for node in graph.nodes if node.measured is not None]
    measured = [node.measured or 0.0 for node in nodes]
    influence = [node.influence for node in nodes]
    rank = spearman([node.effect or 0.0 for node in nodes], measured)
    return rank or 0.0, spearman(influence, [abs(m) for m in measured]) or 0.0


def _smollm2(seed: int) -> tuple[Model, Sequence[tuple[str, str, str]]]:
    third = NUM_PROMPTS // 3
    found = [
        (one.prompt, one.answer, one.wrong)
        for made in (capitals, indirect_objects)
        for one in made(third, seed)
    ]
    facts = content("evals", "factual", "counterfact.jsonl")
    order = np.random.default_rng(seed).permutation(len(facts))
    for n in order:
        one = facts[n]
        if len(found) == NUM_PROMPTS:
            break
        if says(smollm2(), one["prompt"], one["target_true"]):
            found.append((one["prompt"], one["target_true"], one["target_new"]))
    return smollm2(), found


def _microworld(seed: int) -> tuple[Model, Sequence[tuple[str, str, str]]]:
    made = world.indirect_objects(NUM_PROMPTS, seed)
    return world.microworld(), [(one.prompt, one.answers[0], one.wrong[0]) for one in made]


MODELS: dict[str, Callable[[int], tuple[Model, Sequence[tuple[str, str, str]]]]] = {
    "SmolLM2": _smollm2
}
FIGURES = {"trace-effects": Measurement(effects)}
