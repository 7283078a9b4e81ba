"""The attribution graph of one target: nodes, signed edges, scores, and its JSON form.

An edge (source, target, weight) is the direct contribution of the source to the target's
pre-activation (a feature) or to its logit, with its sign, under frozen attention patterns and
normalisation denominators. What reaches a target and is no edge (encoder bias, decoder biases,
attention and norm biases, the head's own bias left out) is the node's constant `bias`, so that
for every target with known inputs:  value = bias + sum of the edges into it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from inscape.core import InputError, LabelOf, no_label, quoted, short
from inscape.storage import Result, plain

NodeKind = Literal["feature", "error", "rest", "embedding", "logit"]
Indices = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
E = TypeVar("E", "Route", "Link")


@dataclass
class Node:
    """One node.

    kind: feature (of a transcoder or of the residual stream, a neuron, or what an attention head
        gives), error (what the
        transcoder misses of the MLP's output; all of it where there is nothing to read it with, and
        at positions that do not count), rest (what the active features and neurons of an MLP that
        are no nodes write together), embedding (of a prompt token), logit (a target).
    feature: the feature's index (of a neuron i that is negative: the number of neurons plus i); the
        number of a head; the token id of an embedding or a logit; -1 for an error or a rest.
    activation: the feature's activation; the norm of an error, rest or embedding; the value of a
        logit target (its logit less the mean logit, or the difference of two logits, both before
        the final soft-cap where the model has one; `probability` is the model's own). NaN where a
        graph of another tool does not say it.
    influence: fraction of the influence on the targets, all paths summed (signs dropped).
    rank: cumulative fraction of influence up to and with this node, the most influential first.
    bias: value less all edges, for targets whose inputs are known (else None).
    effect: what the targets lose without this feature in the model as it is, predicted by gradients
        in which attention and norms move; measured: the same, measured, of the largest.
    total: what enters it, sizes of all edges added up, those that are not kept among them.
    hint: of a feature without a label, what it does here in words (see hints.py).
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
    effect: float | None = None
    measured: float | None = None
    total: float | None = None
    hint: str = ""


def address(node: Node) -> str:
    """What names a feature for certain, `dictionary/feature`, as steering takes it."""
    return f"{node.dictionary or f'L{node.layer}'}/{node.feature}"


def is_head(node: Node) -> bool:
    """Whether a node is what an attention head gives at a position."""
    return (node.dictionary or "").startswith("attn_head.")


def feature_name(node: Node) -> str:
    """What a feature without a label is called."""
    return f"head {node.feature} of layer {node.layer}" if is_head(node) else address(node)


def label_of(node: Node, names: LabelOf) -> str | None:
    """A feature's label; where it has none what it does here, in words."""
    return (None if node.dictionary is None else names(node.dictionary, node.feature)) or (
        node.hint or None
    )


def title(node: Node, names: LabelOf, role: str | None = None) -> str:
    """A short name for people: what a source is, with its label where it has one, and where."""
    place = f"{quoted(node.token)}@{node.position}" + (f" ({role})" if role else "")
    if node.kind == "embedding":
        return f"token {place}"
    if node.kind in ("error", "rest"):
        what = "error" if node.kind == "error" else "other features"
        return f"{what} L{node.layer} {place}"
    label = label_of(node, names)
    return f"{label} [{address(node)}] {place}" if label else f"{feature_name(node)} {place}"


@dataclass(frozen=True)
class Edges:
    """Sparse edges: node numbers [E] and signed weights [E]; `source` feeds `target`."""

    source: Indices
    target: Indices
    weight: Weights

    def __len__(self) -> int:
        return int(self.source.shape[0])

    def select(self, mask: Mask | npt.NDArray[np.int64]) -> Edges:
        """The edges where the mask [E] is true, or of these numbers."""
        return Edges(self.source[mask], self.target[mask], self.weight[mask])


@dataclass(frozen=True)
class Route:
    """An edge through attention, split by head: direct and all heads together are its weight.

    source, target: node numbers. heads: layer, head and weight of the largest. direct: along the
    residual stream alone. rest: the other heads.
    """

    source: int
    target: int
    heads: list[tuple[int, int, float]]
    direct: float
    rest: float


@dataclass(frozen=True, kw_only=True)
class Tests:
    """What stands beside a measured removal (see interventions.py).

    controls: the same without random features in place of these. Beside another prompt: exchanged,
    what is lost where these features are as they are there; restored, what is gained on the other
    prompt where these features are as they are here; each with the same of the random ones.
    """

    controls: list[float] = field(default_factory=list)
    exchanged: float | None = None
    exchanged_controls: list[float] = field(default_factory=list)
    restored: float | None = None
    restored_controls: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Link(Tests):
    """An edge between features put to the test in the model as it is (see links.py): what the
    target reads less of without the source.

    source, target: node numbers. weight: of the edge. predicted, measured: what is lost. holds:
    whether it is as predicted. gap: by how much less the target reads on the other prompt.
    """

    source: int
    target: int
    weight: float
    predicted: float
    measured: float
    holds: bool
    gap: float | None = None


@dataclass(frozen=True)
class Removed(Tests):
    """What the targets lose without the `num` features of the largest predicted effects together:
    predicted, and measured."""

    num: int
    predicted: float
    measured: float


@dataclass(frozen=True)
class Verification:
    """A graph's predictions beside the model as it is (see verify.py).

    agreement: rank correlation of predicted and measured effects over `num` features removed one at
    a time; None where it is not defined. together: sets of growing size. other: the prompt that
    features were exchanged with; gap: by how much the targets are lower there.
    """

    num: int
    agreement: float | None
    together: list[Removed]
    holds: bool
    other: str | None = None
    gap: float | None = None


@dataclass(frozen=True)
class Supernode(Tests):
    """Nodes that people see as one thing, under a name.

    nodes: node numbers. effect, measured: what the targets lose without them in the model as it is,
    predicted and measured. by: what the name rests on; holds: whether the name stood its test, None
    where it had none (see supernodes.py).
    """

    name: str
    nodes: tuple[int, ...]
    effect: float | None = None
    measured: float | None = None
    by: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class Scores:
    """How much of the influence is explained.

    The influence on the targets comes from tokens (`replacement`), from errors, and from features
    that are no nodes (`unknown`): three fractions that sum to 1.
    completeness: influence-weighted fraction of the targets' inputs that are not errors.
    Of the kept graph they are of what is kept: features that are no nodes are never kept.
    """

    replacement: float
    completeness: float
    unknown: float = 0.0


@dataclass
class GraphData(Result):
    """A traced target. `kept_nodes` [N] and `kept_edges` [E] mark the pruned graph.

    roles [pos]: whose message each token is of, in a chat; counted [pos]: where features are looked
    for (not at special and template tokens, nor at attention sinks). checkpoints: by dictionary of
    the residual stream and site of heads the position and number of each feature that is a node of
    the whole graph: what these read does not pass beside them. routes: kept edges split by head,
    the strongest first, where that was asked for. verification: predicted effects beside measured.
    links: the strongest edges between features, put to the test.
    supernodes, pins (node numbers): what somebody has grouped and chosen to look at. edited: it was
    read from a file in which that was changed since it was written. names: gives a
    feature's label when the graph is shown, by dictionary and feature; it is not saved.
    """

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)
    SCHEMA: ClassVar[str] = "inscape.graph"
    VERSION: ClassVar[int] = 2
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
    dictionaries: list[str] = field(default_factory=list)
    checkpoints: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    verification: Verification | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    num_nodes_full: int = 0
    num_edges_full: int = 0
    roles: list[str | None] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)
    supernodes: list[Supernode] = field(default_factory=list)
    pins: list[int] = field(default_factory=list)
    edited: bool = False
    names: LabelOf = field(default=no_label, repr=False, compare=False)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({short(self.prompt)}, {int(self.kept_nodes.sum())} of "
            f"{self.num_nodes_full} nodes, {int(self.kept_edges.sum())} of {self.num_edges_full} "
            "edges kept)"
        )

    def label(self, node: Node) -> str | None:
        """The label that a feature has now, or what it does here in words, or None."""
        return label_of(node, self.names)

    def candidates(self, node: Node) -> tuple[str, ...]:
        """What a logit stands for, whole: the answer that was asked for or the two whose difference
        it is, though a token of each is traced; else its token."""
        tokens = (node.token,) if node.against_token is None else (node.token, node.against_token)
        return tuple(self.settings.get("candidates") or tokens)

    def title(self, node: Node) -> str:
        """A short name for people: what a node is, with its label where it has one, and where."""
        if node.kind == "logit":
            answers = " - ".join(map(quoted, self.candidates(node)))
            if node.against_token is not None or node.probability is None:
                return f"logit {answers}"
            whole = "" if self.candidates(node) == (node.token,) else f" of {answers}"
            return f"logit {quoted(node.token)}{whole} (p={node.probability:.3f})"
        role = self.roles[node.position] if node.position < len(self.roles) else None
        return title(node, self.names, role)

    @property
    def is_pruned(self) -> bool:
        """True when only the kept part is here (read back from a file)."""
        return len(self.nodes) < self.num_nodes_full or len(self.edges) < self.num_edges_full

    def check_numbers(self) -> None:
        """InputError where a pin or supernode names a node that is not there."""
        for number in [*self.pins, *(n for one in self.supernodes for n in one.nodes)]:
            if not 0 <= number < len(self.nodes):
                raise InputError(
                    f"node {number} is pinned or in a supernode",
                    expected=f"numbers of the graph's {len(self.nodes)} nodes",
                )

    @property
    def targets(self) -> list[int]:
        """Node numbers of the logit targets."""
        return [i for i, node in enumerate(self.nodes) if node.kind == "logit"]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Of each edge [E] its fraction of all that enters its target, signs dropped: in the whole
        graph, also where only the kept part is here."""
        size = np.abs(self.edges.weight, dtype=np.float64)
        here = np.bincount(self.edges.target, size, len(self.nodes))
        known = [math.nan if node.total is None else node.total for node in self.nodes]
        whole = np.where(np.isnan(known), here, known)[self.edges.target]
        return np.divide(size, whole, out=np.zeros_like(size), where=whole > 0)

    def inputs(self, node: int) -> list[tuple[int, float]]:
        """(source, weight) of every edge into a node, the strongest first."""
        into = self.edges.select(self.edges.target == node)
        pairs = zip(into.source.tolist(), into.weight.tolist(), strict=True)
        return sorted(pairs, key=lambda pair: -abs(pair[1]))

    def pruned(self) -> Self:
        """A graph that holds the kept nodes and edges only (scores and totals stay); supernodes and
        pins lose the nodes that go.

        Raises:
            InputError: a pin or supernode names a node that is not there.
        """
        self.check_numbers()
        keep = np.flatnonzero(self.kept_nodes)
        number = np.full(len(self.nodes), -1, dtype=np.int32)
        number[keep] = np.arange(len(keep), dtype=np.int32)
        edges = self.edges.select(self.kept_edges)
        edges = Edges(number[edges.source], number[edges.target], edges.weight)
        groups = [
            replace(one, nodes=tuple(int(number[n]) for n in one.nodes if number[n] >= 0))
            for one in self.supernodes
        ]
        return replace(
            self,
            routes=_between(self.routes, number),
            links=_between(self.links, number),
            supernodes=[one for one in groups if one.nodes],
            pins=[int(number[n]) for n in self.pins if number[n] >= 0],
            nodes=[self.nodes[i] for i in keep],
            edges=edges,
            kept_nodes=np.ones(len(keep), dtype=bool),
            kept_edges=np.ones(len(edges), dtype=bool),
        )

    def to_json(self) -> dict[str, Any]:
        """The kept part of the graph as plain JSON values, with schema and version; edges as lists
        of source, target and weight."""
        part = self.pruned()
        named = {f.name: getattr(part, f.name) for f in fields(part)}
        for unsaved in ("kept_nodes", "kept_edges", "names"):
            del named[unsaved]
        columns = (column.tolist() for column in vars(part.edges).values())
        named["edges"] = list(zip(*columns, strict=True))
        return {"schema": self.SCHEMA, "version": self.VERSION, **plain(named)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Reads what `to_json` wrote; DataError for another schema, a newer version, or damage."""
        content = cls.content(data)
        if isinstance(content.get("dictionaries"), dict):  # version 1
            content["dictionaries"] = list(dict.fromkeys(content["dictionaries"].values()))
        try:
            edges = np.array(content["edges"], dtype=np.float64).reshape(-1, 3)
            num_nodes = len(content["nodes"])
            nodes = [_with_unknown(node) for node in content["nodes"]]
        except (KeyError, TypeError, ValueError) as error:
            raise cls.damaged(f"{type(error).__name__}: {error}") from error
        source, target = edges.T[:2].astype(np.int32)
        read = {
            "nodes": nodes,
            "edges": Edges(source, target, edges.T[2].astype(np.float32)),
            "kept_nodes": np.ones(num_nodes, dtype=bool),
            "kept_edges": np.ones(len(edges), dtype=bool),
        }
        made = super().from_json({**data, **content, **read})
        named = [*made.pins, *(n for one in made.supernodes for n in one.nodes)]
        if named and not 0 <= min(named) <= max(named) < num_nodes:
            raise cls.damaged(f"a pin or supernode names a node outside the {num_nodes} there are")
        if not any(node.kind == "logit" for node in made.nodes):
            raise cls.damaged("it has no target: no node of kind logit")
        last = len(made.prompt_tokens) - 1
        if not all(0 <= node.position <= last for node in made.nodes):
            raise cls.damaged(f"a node lies outside the {last + 1} tokens of the prompt")
        return made


def _between(some: Sequence[E], number: Indices) -> list[E]:
    """What lies between two nodes, with their new numbers."""
    return [
        replace(one, source=int(number[one.source]), target=int(number[one.target])) for one in some
    ]


def _with_unknown(node: Any) -> Any:
    """A node from JSON, where an activation that is not known is null."""
    if isinstance(node, dict) and node.get("activation", 0.0) is None:
        return {**node, "activation": math.nan}
    return node
