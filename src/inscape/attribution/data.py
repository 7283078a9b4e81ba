"""The attribution graph of one target: nodes, signed edges, scores, and its JSON form.

An edge (source, target, weight) is the direct contribution of the source to the target's
pre-activation (a feature) or to its logit, with its sign, under frozen attention patterns and
normalisation denominators. What reaches a target and is no edge (encoder bias, decoder biases,
attention and norm biases, the head's own bias left out) is the node's constant `bias`, so that
for every target with known inputs:  value = bias + sum of the edges into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from inscape.core import LabelOf, no_label
from inscape.storage import Result

NodeKind = Literal["feature", "error", "embedding", "logit"]
Indices = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass
class Node:
    """One node.

    kind: feature (an active transcoder feature), error (what the transcoder misses of the MLP's
        output; all of it where there is no transcoder, and at positions that do not count),
        embedding (of a prompt token), logit (a target).
    feature: the feature's index; the token id of an embedding or a logit; -1 for an error.
    activation: the feature's activation; the norm of an error or embedding vector; the value of a
        logit target (its logit less the mean logit, or the difference of two logits, both before
        the final soft-cap where the model has one; `probability` is the model's own).
    influence: fraction of the influence on the targets, all paths summed (signs dropped).
    rank: cumulative fraction of influence up to and with this node, the most influential first.
    bias: value less all edges, for targets whose inputs are known (else None).
    against: token id of the other candidate when the target is a difference of two logits.
    token: text of the prompt token at this position; for a logit the text of its token.
    """

    kind: NodeKind
    layer: int | None
    position: int
    feature: int
    activation: float
    token: str = ""
    probability: float | None = None
    against: int | None = None
    against_token: str | None = None
    dictionary: str | None = None
    influence: float = 0.0
    rank: float = 1.0
    bias: float | None = None


@dataclass(frozen=True)
class Edges:
    """Sparse edges: node numbers [E] and signed weights [E]; `source` feeds `target`."""

    source: Indices
    target: Indices
    weight: Weights

    def __len__(self) -> int:
        return int(self.source.shape[0])

    def select(self, mask: Mask) -> Edges:
        """The edges where the mask [E] is true."""
        return Edges(self.source[mask], self.target[mask], self.weight[mask])


@dataclass(frozen=True)
class Scores:
    """How much of the influence is explained.

    The influence on the targets comes from tokens (`replacement`), from errors, and from features
    whose own inputs were not computed (`unknown`): three fractions that sum to 1.
    completeness: influence-weighted fraction of the targets' inputs that are not errors.
    """

    replacement: float
    completeness: float
    unknown: float = 0.0


@dataclass
class GraphData(Result):
    """A traced target. `kept_nodes` [N] and `kept_edges` [E] mark the pruned graph.

    roles [pos]: whose message each token is of, in a chat; counted [pos]: where features are looked
    for (not at special and template tokens, nor at attention sinks). names: gives a feature's label
    when the graph is shown, by dictionary and feature; it is not saved.
    """

    SCHEMA: ClassVar[str] = "inscape.graph"
    MADE_BY: ClassVar[str] = "trace"

    model: str
    prompt: str
    token_ids: list[int]
    prompt_tokens: list[str]
    num_layers: int
    nodes: list[Node]
    edges: Edges
    kept_nodes: Mask
    kept_edges: Mask
    scores: Scores
    kept_scores: Scores
    dictionaries: dict[int, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    num_nodes_full: int = 0
    num_edges_full: int = 0
    roles: list[str | None] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)
    names: LabelOf = field(default=no_label, repr=False, compare=False)

    def label(self, node: Node) -> str | None:
        """The label that a feature has now, or None."""
        return None if node.dictionary is None else self.names(node.dictionary, node.feature)

    def title(self, node: Node) -> str:
        """A short name for people: what a node is, with its label where it has one, and where."""
        if node.kind == "logit":
            if node.against_token is not None:
                return f"logit {node.token!r} - {node.against_token!r}"
            chance = "" if node.probability is None else f" (p={node.probability:.3f})"
            return f"logit {node.token!r}{chance}"
        role = self.roles[node.position] if node.position < len(self.roles) else None
        place = f"{node.token!r}@{node.position}" + (f" ({role})" if role else "")
        if node.kind == "embedding":
            return f"token {place}"
        if node.kind == "error":
            return f"error L{node.layer} {place}"
        label = self.label(node)
        name = f"{node.dictionary or f'L{node.layer}'}/{node.feature}"
        return f"{name} [{label}] {place}" if label else f"{name} {place}"

    @property
    def is_pruned(self) -> bool:
        """True when only the kept part is here (read back from a file)."""
        return len(self.nodes) < self.num_nodes_full or len(self.edges) < self.num_edges_full

    @property
    def targets(self) -> list[int]:
        """Node numbers of the logit targets."""
        return [i for i, node in enumerate(self.nodes) if node.kind == "logit"]

    def inputs(self, node: int, *, kept: bool = False) -> list[tuple[int, float]]:
        """(source, weight) of every edge into a node, the strongest first."""
        chosen = self.edges.target == node
        if kept:
            chosen = chosen & self.kept_edges
        return _strongest(self.edges.source[chosen], self.edges.weight[chosen])

    def outputs(self, node: int, *, kept: bool = False) -> list[tuple[int, float]]:
        """(target, weight) of every edge out of a node, the strongest first."""
        chosen = self.edges.source == node
        if kept:
            chosen = chosen & self.kept_edges
        return _strongest(self.edges.target[chosen], self.edges.weight[chosen])

    def pruned(self) -> Self:
        """A graph that holds the kept nodes and edges only (scores and totals stay)."""
        keep = np.flatnonzero(self.kept_nodes)
        number = np.full(len(self.nodes), -1, dtype=np.int32)
        number[keep] = np.arange(len(keep), dtype=np.int32)
        edges = self.edges.select(self.kept_edges)
        edges = Edges(number[edges.source], number[edges.target], edges.weight)
        copy = {f.name: getattr(self, f.name) for f in fields(self)}
        copy |= {
            "nodes": [self.nodes[i] for i in keep],
            "edges": edges,
            "kept_nodes": np.ones(len(keep), dtype=bool),
            "kept_edges": np.ones(len(edges), dtype=bool),
        }
        return type(self)(**copy)

    def to_json(self) -> dict[str, Any]:
        """The kept part of the graph as plain JSON values, with schema and version."""
        part = self.pruned()
        return {
            "schema": self.SCHEMA,
            "version": self.VERSION,
            "model": part.model,
            "prompt": part.prompt,
            "token_ids": list(part.token_ids),
            "prompt_tokens": list(part.prompt_tokens),
            "roles": list(part.roles),
            "counted": list(part.counted),
            "num_layers": part.num_layers,
            "dictionaries": {str(layer): name for layer, name in part.dictionaries.items()},
            "settings": part.settings,
            "notes": list(part.notes),
            "scores": asdict(part.scores),
            "kept_scores": asdict(part.kept_scores),
            "num_nodes_full": part.num_nodes_full,
            "num_edges_full": part.num_edges_full,
            "nodes": [asdict(node) for node in part.nodes],
            "edges": [
                [int(s), int(t), float(w)]
                for s, t, w in zip(
                    part.edges.source, part.edges.target, part.edges.weight, strict=True
                )
            ],
        }

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Reads what `to_json` wrote; DataError for another schema, a newer version, or damage."""
        content = cls.content(data)
        try:
            return cls(**_read(content))
        except (KeyError, TypeError, ValueError) as error:
            raise cls.damaged(f"{type(error).__name__}: {error}") from error


def _strongest(ends: Indices, weights: Weights) -> list[tuple[int, float]]:
    order = np.argsort(-np.abs(weights), kind="stable")
    return [(int(ends[i]), float(weights[i])) for i in order]


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    edges = data["edges"]
    nodes = [Node(**{k: v for k, v in node.items() if k != "label"}) for node in data["nodes"]]
    return {
        "model": data["model"],
        "prompt": data["prompt"],
        "token_ids": [int(t) for t in data["token_ids"]],
        "prompt_tokens": list(data["prompt_tokens"]),
        "num_layers": int(data["num_layers"]),
        "nodes": nodes,
        "edges": Edges(
            np.array([e[0] for e in edges], dtype=np.int32),
            np.array([e[1] for e in edges], dtype=np.int32),
            np.array([e[2] for e in edges], dtype=np.float32),
        ),
        "kept_nodes": np.ones(len(nodes), dtype=bool),
        "kept_edges": np.ones(len(edges), dtype=bool),
        "scores": Scores(**data["scores"]),
        "kept_scores": Scores(**data["kept_scores"]),
        "dictionaries": {int(layer): name for layer, name in data["dictionaries"].items()},
        "settings": dict(data["settings"]),
        "notes": list(data["notes"]),
        "num_nodes_full": int(data["num_nodes_full"]),
        "num_edges_full": int(data["num_edges_full"]),
        "roles": list(data.get("roles", [])),
        "counted": list(data.get("counted", [])),
    }
