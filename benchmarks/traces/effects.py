"""Predicted effects of features beside those measured in the model as it is."""

from __future__ import annotations

from collections.abc import Sequence

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


def smollm2_effects(run: Run) -> Row:
    """Capitals, indirect objects and facts that SmolLM2 answers rightly."""
    return _effects("trace-effects", "SmolLM2", *_smollm2(run.seed), run)


def world_effects(run: Run) -> Row:
    """Indirect objects of the small world."""
    return _effects("trace-effects-world", "microworld", *_microworld(run.seed), run)


def _effects(
    row: str, name: str, model: Model, prompts: Sequence[tuple[str, str, str]], run: Run
) -> Row:
    """Rank correlation over the nodes of each graph, the mean over prompts; of the graph's
    influence beside it, which holds attention and norms still and drops signs."""
    found = [_agreement(model, *prompt) for prompt in prompts]
    moving = [one for one, _ in found]
    influence = [two for _, two in found]
    return Row(
        row,
        f"neurons: effect on the answer against ablation in the model as it is, {NUM_NODES} nodes",
        (
            Check(
                f"{name}: predicted effect",
                float(np.mean(moving)),
                "≥ 0.85",
                bootstrap_mean(moving, run.seed),
            ),
        ),
        f"{len(prompts)} prompts",
        seed=run.seed,
        detail={
            f"{name}: the graph's influence, by size": float(np.mean(influence)),
            f"{name}: least of a prompt": min(moving),
        },
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


FIGURES = {
    "trace-effects": Measurement(smollm2_effects),
    "trace-effects-world": Measurement(world_effects),
}
