"""Does the trace pass through the step that the interchange shows?

1. Asked are held-out prompts of compositions whose intermediate concept is causal, as the
   supervised interchange shows (reasoning.py); none of inscape's features has a part in choosing.
2. In each transcoder a concept is the union of features, each with its threshold, that was chosen
   on the documents' selection half (matching.py).
3. The right answer of each prompt is traced. The trace passes through a concept where the pruned
   graph keeps a feature of the concept's union that fires above its threshold, at the last token of
   the mention or after it (before it, the prompt has not yet said what the concept follows from).
4. Beside it, on the same graphs: the concepts of the other compositions (a graph that keeps enough
   would pass through all of them); the whole graph before pruning, which is the ceiling; and as
   many active features as the pruned graph keeps, drawn at random from each layer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from inscape.attribution import Graph, trace
from inscape.core import InputError, Share, seeded, track
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape_microworld.benchmark.matching import ConceptMatch
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.swaps import Swap, batch

NUM_PROMPTS = 160
Unions = Mapping[str, Mapping[str, Mapping[int, float]]]
"""concept → dictionary → feature → threshold of its activation."""


@dataclass(frozen=True)
class TracedStep:
    """How often the trace passes through the concept that is causal.

    passes: prompts; others: pairs of a prompt and the concept of another composition; whole:
    prompts whose unpruned graph passes; random: prompts on which a random draw of active features
    does; layers: prompts by the layer of the kept feature; influence: the mean share of influence
    on the answer of the kept features of the concept, of all features' and errors'.
    """

    passes: Share
    others: Share
    whole: Share
    random: Share
    layers: Mapping[int, int]
    influence: float
    compositions: Mapping[str, Share]
    seed: int = field(default=0, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shares = {k: getattr(self, k).to_json() for k in ("passes", "others", "whole", "random")}
        return {
            **shares,
            "layers": {str(layer): n for layer, n in self.layers.items()},
            "influence": self.influence,
            "compositions": {k: s.to_json() for k, s in self.compositions.items()},
        }


def unions(found: Mapping[str, Sequence[ConceptMatch]]) -> Unions:
    """The unions of matched concepts, from the matches by dictionary."""
    made: dict[str, dict[str, Mapping[int, float]]] = defaultdict(dict)
    for dictionary, matches in found.items():
        for match in matches:
            chosen = zip(match.features, match.thresholds, strict=True)
            made[match.concept][dictionary] = dict(chosen)
    return made


def study(
    model: Model,
    transcoders: Mapping[int, Dictionary],
    known: Unions,
    held: Sequence[Swap],
    *,
    num_prompts: int = NUM_PROMPTS,
    seed: int = 0,
) -> TracedStep:
    """Trace prompts (`held` of a reasoning study) and look for their concepts.

    Raises:
        InputError: no composition has a causal intermediate, or there is no transcoder.
    """
    if not held or not transcoders:
        missing = "no composition's intermediate is causal" if transcoders else "no transcoder"
        raise InputError(missing, expected="a step that a trace could pass through")
    asked = Random(seeded(seed, "traced")).sample(list(held), min(num_prompts, len(held)))
    concepts = sorted({swap.concept for swap in held})
    begins = batch(model, asked).mention[:, 1] - 1
    random = np.random.default_rng(seeded(seed, "traced at random"))
    tally: dict[str, list[bool]] = defaultdict(list)
    layers: Counter[int] = Counter()
    groups: dict[str, list[bool]] = defaultdict(list)
    influence = []
    for swap, begin in zip(track(asked, "tracing"), begins.tolist(), strict=True):
        graph = trace(model, swap.text, transcoders, target=swap.wanted)
        own = stands_for(graph, known.get(swap.concept, {}), begin)
        kept = own & graph.kept_nodes
        tally["passes"].append(bool(kept.any()))
        tally["whole"].append(bool(own.any()))
        tally["random"].append(bool((own & drawn(graph, random)).any()))
        tally["others"] += [
            bool((stands_for(graph, known.get(c, {}), begin) & graph.kept_nodes).any())
            for c in concepts
            if c != swap.concept
        ]
        groups[swap.group].append(tally["passes"][-1])
        nodes = [graph.nodes[i] for i in np.flatnonzero(kept)]
        layers.update({node.layer for node in nodes if node.layer is not None})
        influence.append(sum(node.influence for node in nodes))
    return TracedStep(
        **{
            name: Share(sum(tally[name]), len(tally[name]))
            for name in ("passes", "others", "whole", "random")
        },
        layers=dict(sorted(layers.items())),
        influence=float(np.mean(influence)),
        compositions={g: Share(sum(t), len(t)) for g, t in sorted(groups.items())},
        seed=seed,
    )


def stands_for(graph: Graph, features: Mapping[str, Mapping[int, float]], begin: int) -> np.ndarray:
    """Mask [N] of the graph's feature nodes at `begin` or after it that are among `features`
    (dictionary → feature → threshold) and fire above their threshold."""
    mask = np.zeros(len(graph.nodes), np.bool_)
    for i, node in enumerate(graph.nodes):
        if node.kind == "feature" and node.position >= begin:
            threshold = features.get(node.dictionary or "", {}).get(node.feature)
            mask[i] = threshold is not None and node.activation >= threshold
    return mask


def drawn(graph: Graph, random: np.random.Generator) -> np.ndarray:
    """Mask [N] of as many features of each layer as the pruned graph keeps, drawn at random."""
    mask = np.zeros(len(graph.nodes), np.bool_)
    layer = np.array([n.layer if n.kind == "feature" else -1 for n in graph.nodes])
    for number in sorted({int(n) for n in layer} - {-1}):
        here = np.flatnonzero(layer == number)
        count = int(graph.kept_nodes[here].sum())
        mask[random.choice(here, count, replace=False)] = True
    return mask


def row(found: TracedStep) -> Row:
    """The row of a study."""
    shares = {
        "passes through the causal step": found.passes,
        "through another composition's": found.others,
        "whole graph, not pruned": found.whole,
        "as many active features at random": found.random,
    }
    return Row(
        "trace",
        "two hops: does the trace of the answer pass through the unsaid concept that is causal?",
        tuple(Check(name, s.value, "", s.interval) for name, s in shares.items()),
        samples=f"{found.passes.total} held-out prompts of {len(found.compositions)} compositions",
        seed=found.seed,
        detail={
            "prompts by layer of the kept feature": dict(found.layers),
            "mean share of the influence on the answer": found.influence,
        },
    )
