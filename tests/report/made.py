"""A graph and a diagnosis of the shape that real ones have."""

from __future__ import annotations

import numpy as np

from inscape.attribution import Edges, Graph, Node, Scores
from inscape.core import Share
from inscape.diagnosis import Candidate, Diagnosis, RandomControl
from inscape.intervention import Repair
from inscape.intervention.repair import Change

PROMPT = [
    "<s>",
    "When",
    " Mary",
    " and",
    " John",
    " went",
    " to",
    " the",
    " store",
    ",",
    " John",
    " gave",
    " a",
    " drink",
    " to",
]
SUM = [
    "<s>",
    "Nat",
    "alia",
    " sold",
    " 4",
    "8",
    " clips",
    " in",
    " April",
    " and",
    " 4",
    "1",
    " clips",
    " in",
    " May",
    ".",
    " How",
    " many",
    " clips",
    " did",
    " Nat",
    "alia",
    " sell",
    " in",
    " April",
    " and",
    " May",
    " combined",
    "?",
    " ",
]
LABELS = [
    "a name that was said before",
    "“ and ” joins two givers",
    "John",
    "the receiver of a gift is due, after “to”",
    "Mary",
    "a place where people go",
    "the second name of a pair",
    "giving: gave, handed, passed to somebody else in the story",
    "sum of the tens with a carry from the ones place",
    "ones digit 8",
    "ones digit 1",
]


def graph(tokens: list[str], *, num_layers: int = 4, seed: int = 0, answer: str = " Mary") -> Graph:
    """A graph of the shape that a trace has: causal, layered, some weights negative."""
    draw = np.random.default_rng(seed)
    last = len(tokens) - 1
    nodes = [
        Node("embedding", None, i, 10 + i, 1.0, token=t, influence=float(draw.gamma(0.4) / 10))
        for i, t in enumerate(tokens)
    ]
    labels: dict[tuple[str, int], str] = {}
    places = [2, 4, min(10, last), last, last]
    for layer in range(num_layers):
        for place in dict.fromkeys(places):
            for _ in range(int(draw.integers(1, 4))):
                labels[f"mlp{layer}", index := int(draw.integers(2048))] = str(draw.choice(LABELS))
                nodes.append(
                    Node(
                        "feature",
                        layer,
                        place,
                        index,
                        float(draw.gamma(2.0)),
                        token=tokens[place],
                        dictionary=f"mlp{layer}",
                        influence=float(draw.gamma(0.5) / 8),
                    )
                )
        nodes.append(Node("error", layer, last, -1, 0.7, token=tokens[last], influence=0.03))
    nodes.append(Node("logit", num_layers, last, 99, 3.4, token=answer, probability=0.973))
    depth = [{"embedding": -1, "logit": num_layers}.get(n.kind, n.layer) for n in nodes]
    pairs = [
        (s, t)
        for t, target in enumerate(nodes)
        for s, source in enumerate(nodes)
        if target.kind in ("feature", "logit")
        and depth[s] < depth[t]
        and source.position <= target.position
        and draw.random() < 0.4
    ]
    size = draw.gamma(0.35, size=len(pairs))
    weights = (size * draw.choice([1, 1, -1], len(pairs))).astype(np.float32)
    edges = Edges(
        np.array([p[0] for p in pairs], np.int32),
        np.array([p[1] for p in pairs], np.int32),
        weights,
    )
    return Graph(
        model="microworld",
        prompt="".join(tokens[1:]),
        token_ids=list(range(len(tokens))),
        prompt_tokens=tokens,
        num_layers=num_layers,
        nodes=nodes,
        edges=edges,
        kept_nodes=np.ones(len(nodes), bool),
        kept_edges=np.ones(len(pairs), bool),
        scores=Scores(0.813, 0.927),
        kept_scores=Scores(0.85, 0.93),
        dictionaries=[f"mlp{layer}" for layer in range(num_layers)],
        notes=["attention is frozen: why it goes where it goes is not explained"],
        num_nodes_full=3120,
        num_edges_full=88211,
        names=lambda name, feature: labels.get((name, feature)),
    )


def found() -> Diagnosis:
    """The eel that is said to be Italian."""

    def candidate(index: int, label: str | None, margin: float) -> Candidate:
        return Candidate(
            "resid2",
            index,
            label,
            estimate=0.83 * margin,
            margin=margin,
            wrong=-0.6 * margin,
            correct=0.41 * margin,
            repaired=7,
            tokens=((1, "un", 3.31), (2, "agi", 7.207)),
        )

    return Diagnosis(
        prompt="unagi is a dish from the country of",
        correct=" Japan",
        wrong=" Italy",
        correct_token=" Japan",
        wrong_token=" Italy",
        mechanism="outvoted",
        num_prompts=24,
        num_failures=21,
        lead=0.7661,
        correct_probability=0.284,
        wrong_probability=0.611,
        for_wrong=(
            candidate(611, "eel dishes: unagi, anago", 1.932),
            candidate(9, None, 0.412),
            candidate(70, "Italian food, and towns where it is eaten on long evenings", 0.2),
        ),
        for_correct=(candidate(1201, "Japanese dishes", -1.1),),
        removed=(candidate(611, "eel dishes: unagi, anago", 1.932),),
        repaired=Share(20, 21),
        random=RandomControl(0.0148, (0.004, 0.0263), 100, 21, 1),
        amplified=Share(13, 21),
        before={"held-out eel dishes": Share(0, 40), "dishes that are Italian": Share(60, 60)},
        after={"held-out eel dishes": Share(36, 40), "dishes that are Italian": Share(59, 60)},
        repair=Repair((Change("resid2", "abc", 611, "ablate"),), "microworld", "def"),
        notes=("a note",),
    )
