"""Attribution graph of one target.

1. Read the prompt in its bases: transcoder features, neurons, features of the stream.
2. Choose the targets: the likeliest next tokens, one token, or the difference of two. A logit is
   measured less the mean logit of the vocabulary: softmax does not see a shift that all share.
3. Rank the features by their effect on the targets; the best are nodes (ranking.py).
4. Under frozen attention patterns and norm denominators the map between any two nodes is linear:
   compute the signed edges into the logits, then into the features, a batch a backward pass.
5. Influence, pruning and scores over the sparse edges.
6. What the strongest do when they are removed from the model as it is (verify.py).

Ameisen et al., "Circuit Tracing: Revealing Computational Graphs in Language Models" (2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inscape.attribution import influence as flow
from inscape.attribution.attention import HeadSplit, source_nodes
from inscape.attribution.bases import Basis, find_bases
from inscape.attribution.data import Edges, Mask, Node, Route
from inscape.attribution.edges import compute_edges
from inscape.attribution.effects import of_nodes, predicted
from inscape.attribution.graph import Graph
from inscape.attribution.hints import add_hints
from inscape.attribution.interventions import Other, without_counterpart
from inscape.attribution.links import NUM_LINKS, verify_links
from inscape.attribution.ranking import Linear
from inscape.attribution.ranking import choose as choose_features
from inscape.attribution.sources import Reading, Sources, check_logits, lay_out, read
from inscape.attribution.supernodes import supernodes
from inscape.attribution.verify import verify
from inscape.core import InputError, LabelOf, finite_number, no_label, track, whole
from inscape.dictionary import Dictionary
from inscape.model import Model, Prompt, Source, counterparts

MAX_FEATURES = 16_384  # of a graph of transcoders alone
MAX_MIXED, MIN_MIXED, LONG = 300, 40, 512  # where neurons are read; fewer from LONG tokens on
MAX_LOGITS, LOGIT_SHARE = 10, 0.95  # of the likeliest tokens as targets
VERIFIED = 20  # features that are removed one at a time
NUM_HEADS = 5  # of an edge that are named
MAX_ENTRIES = 2**29  # rows × nodes that may be computed, of which a quarter or so are edges


@dataclass(frozen=True)
class Target:
    """A logit target: `vector` [d_model] is read off the final norm's output."""

    token: int
    against: int | None
    probability: float
    weight: float
    vector: Tensor


def trace(
    model: Model,
    prompt: Source,
    dictionaries: Iterable[Dictionary] | Mapping[int, Dictionary] = (),
    *,
    target: str | None = None,
    against: str | None = None,
    node_share: float = 0.8,
    edge_share: float = 0.98,
    max_features: int | None = None,
    heads: int = 0,
    head_nodes: bool = False,
    verified: int = VERIFIED,
    other: Source | None = None,
    memory: float | None = None,
    names: LabelOf = no_label,
) -> Graph:
    """The attribution graph of the token after the prompt.

    prompt: text, or token ids as they are.
    dictionaries: transcoders of the model's MLPs (mlp_in.L to mlp_out.L), dictionaries of its
        residual stream (resid_post.L), both, or none. An MLP without a transcoder is read as its
        neurons, which need no training.
    target, against: trace one candidate, or the logit difference of two (default: the likeliest
        tokens, together 0.95 of the probability, at most 10).
    max_features: most features and neurons that are nodes, those with the largest effect on the
        target first (default: with a transcoder for every layer up to 16,384, else 300, and fewer
        from 512 tokens on). What the others write is one node at each MLP and position, and counts
        as unknown.
    verified: how many of the features with the largest effects are removed from the model as it is,
        predicted beside measured; groups of alike ones too, which get names, and the strongest
        edges between features are put to the test (0: none).
    other: a prompt with another answer: what the verification removes is also exchanged with it,
        and restored there, at tokens that have a counterpart (see `counterparts`).
    memory: most GB above the model; long prompts are computed piece by piece to stay within it
        (default: from 3 GB on).
    heads: of how many kept edges between positions to say which heads carry them (`routes`).
    head_nodes: whether attention heads are nodes too: what a head gives at a position, within the
        same budget. An edge then leads past the heads that are no nodes.
    names: labels by (dictionary name, feature), looked up when the graph is shown.
    Raises InputError for unusable candidates, dictionaries, shares or prompts.
    """
    shares = {"node_share": node_share, "edge_share": edge_share}
    _check_shares(**shares)
    _check_heads(heads, head_nodes)
    asked = None if max_features is None else whole(max_features, "max_features", 1)
    whole(verified, "verified", 0)
    model.require_one_device("tracing")
    model.check_traceable()
    bases, notes = find_bases(model, dictionaries, head_nodes)
    given, tokens, candidates, found = _candidates(model, prompt, target, against)
    reading = read(model, bases, given, memory)
    targets = choose(model, reading.logits, tokens)
    most = asked or _budget(reading)
    last = len(given) - 1
    goals = [Linear(last, t.vector.to(reading.final.device), t.weight) for t in targets]
    moving = predicted(reading, goals)
    sources = lay_out(reading, choose_features(reading, goals, most, moving))
    notes = found + notes + _remarks(model, sources)
    _check_size(sources, len(targets))
    edges, bias = compute_edges(sources, goals)
    nodes = _nodes(sources, targets, bias, moving)
    add_hints(sources, nodes, names)
    beside = None if other is None else _beside(model, bases, given, prompt, other)
    notes += [] if beside is None else without_counterpart(given.texts, beside.places)
    checked = verify(sources, nodes, goals, verified, beside) if verified else None
    start = np.concatenate([np.zeros(sources.num_nodes), [t.weight for t in targets]])
    kinds = np.array([node.kind for node in nodes])
    is_error, is_token = kinds == "error", kinds == "embedding"
    kept_nodes, kept_edges = _prune(nodes, edges, start, node_share, edge_share)
    graph = Graph(
        model=model.name,
        prompt=given.text,
        token_ids=list(given.ids),
        prompt_tokens=list(given.texts),
        roles=list(given.roles),
        counted=given.counted.tolist(),
        num_layers=model.num_layers,
        nodes=nodes,
        edges=edges,
        kept_nodes=kept_nodes,
        kept_edges=kept_edges,
        scores=flow.scores(edges, start, is_error, is_token),
        kept_scores=flow.scores(edges.select(kept_edges), start, is_error, is_token),
        dictionaries=[basis.name for basis in bases if basis.dictionary is not None],
        checkpoints=_checkpoints(sources),
        verification=checked,
        routes=_routes(sources, targets, nodes, edges, start, kept_edges, heads) if heads else [],
        settings={**shares, "max_features": max_features, "candidates": candidates},
        notes=notes,
        num_nodes_full=len(nodes),
        num_edges_full=len(edges),
        names=names,
    )
    if verified:
        _put_to_test(graph, sources, goals, start, beside)
    return graph


def _candidates(
    model: Model, prompt: Source, target: str | None, against: str | None
) -> tuple[Prompt, tuple[int, ...], list[str], list[str]]:
    """The prompt with what the candidates share fed in, the token of each, what remains of each,
    and what is to be said."""
    given = model.prompt(prompt)
    if target is None:
        if against is not None:
            raise InputError(
                f"against {against!r} was given without a target",
                expected="both candidates of a difference",
                next_step="give the target too",
            )
        return given, (), [], []
    split = model.first_difference(given, [target] if against is None else [target, against])
    shared = split.prompt.text.removeprefix(given.text)
    rest = [answer.text.removeprefix(shared) for answer in split.answers]
    return split.prompt, split.tokens, rest, list(split.notes)


def choose(
    model: Model, logits: Float[Tensor, " vocab"], tokens: Sequence[int] = ()
) -> list[Target]:
    """The target of one token, or of the difference of two.

    Without `tokens`: the smallest set of tokens with cumulative probability 0.95, at most 10; none
    that the tokenizer lacks.

    Raises:
        ModelError: the logits are not finite.
    """
    check_logits(model, logits)
    probabilities = torch.softmax(logits.double(), -1)
    head = model.unembedding().float()
    if not tokens:
        named = probabilities * model.vocabulary_mask.to(probabilities.device)
        return _likeliest(head, named)
    token, against = tokens[0], tokens[1] if len(tokens) > 1 else None
    vector = head[token] - (head.mean(0) if against is None else head[against])
    return [Target(token, against, float(probabilities[token]), 1.0, vector)]


def _likeliest(head: Tensor, probabilities: Tensor) -> list[Target]:
    top = torch.topk(probabilities, min(MAX_LOGITS, len(probabilities)))
    before = torch.cumsum(top.values, 0) - top.values
    count = int((before < LOGIT_SHARE).sum())
    total = float(top.values[:count].sum())
    mean = head.mean(0)
    return [
        Target(int(i), None, float(p), float(p) / total, head[int(i)] - mean)
        for p, i in zip(top.values[:count], top.indices[:count], strict=True)
    ]


def _remarks(model: Model, sources: Sources) -> list[str]:
    notes = []
    reading = sources.reading
    neurons = [n for n, basis in enumerate(reading.bases) if basis.kind == "neurons"]
    if any(sources.features[n].num for n in neurons):
        notes.append(
            "inside the MLPs that are read as neurons, edges are of a linear map: an activation "
            "function is its ratio of output to input, and of a product each side gets half"
        )
    active = [part.num for part in reading.active if part is not None]
    if any(one.kind == "rest" for one in sources.others):
        every = sum(active) + sum(reading.inputs[reading.bases[n].read].numel() for n in neurons)
        heads = any(basis.kind == "heads" for basis in reading.bases)
        what = "active features, neurons and heads" if heads else "active features and neurons"
        notes.append(
            f"{sources.num_features} of {every} {what} are nodes, those with the largest effect on "
            "the target; what the others write counts as unknown"
        )
    softcap = getattr(model.structure.config, "final_logit_softcapping", None)
    if softcap:
        notes.append(
            f"this model soft-caps its logits at {softcap:g}: values and edges are of the logits "
            "before that, probabilities of those after it"
        )
    return notes


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 < finite_number(share, name) <= 1:
            raise InputError(f"{name} is {share}", expected="a fraction in (0, 1]")


def _check_heads(heads: int, head_nodes: bool) -> None:
    if whole(heads, "heads", 0) and head_nodes:
        raise InputError(
            f"heads is {heads} and head_nodes is true",
            expected="one of them: edges are split by head, or heads are nodes that edges lead to",
        )


def _prune(
    nodes: Sequence[Node], edges: Edges, start: np.ndarray, node_share: float, edge_share: float
) -> tuple[Mask, Mask]:
    """Which nodes [N] and edges [E] are kept; nodes get what enters them, influence and rank."""
    kinds = np.array([node.kind for node in nodes])
    measured = np.array([node.measured is not None for node in nodes])
    kept_nodes, kept_edges, size = flow.prune(
        edges,
        start,
        always=np.isin(kinds, ("embedding", "logit")) | measured,
        is_feature=kinds == "feature",
        node_share=node_share,
        edge_share=edge_share,
        allowed=kinds != "rest",
    )
    for node, total in zip(nodes, flow.entering(edges, len(nodes)).tolist(), strict=True):
        node.total = total or None
    part = size / size.sum() if size.sum() > 0 else size
    for node, influence, rank in zip(nodes, part, flow.ranks(size), strict=True):
        node.influence, node.rank = float(influence), float(rank)
    return kept_nodes, kept_edges


def _beside(
    model: Model, bases: Sequence[Basis], given: Prompt, prompt: Source, other: Source
) -> Other:
    """The other prompt, with what was fed in behind the first."""
    asked = model.extended(other, given.ids[len(model.prompt(prompt)) :])
    if asked.ids == given.ids:
        raise InputError("the other prompt is the same", expected="one with another answer")
    return Other(read(model, bases, asked), counterparts(given.ids, asked.ids))


def _between(nodes: Sequence[Node], edges: Edges) -> Mask:
    """Edges [E] from one position to another."""
    position = np.array([node.position for node in nodes])
    there: Mask = position[edges.source] != position[edges.target]
    return there


def _routes(
    sources: Sources,
    targets: Sequence[Target],
    nodes: Sequence[Node],
    edges: Edges,
    start: np.ndarray,
    kept: Mask,
    num: int,
) -> list[Route]:
    """The strongest kept edges between positions, split by head, the strongest first."""
    chosen = flow.strongest(edges, start, kept, _between(nodes, edges), num)
    split, found = HeadSplit(sources), {}
    layers, heads = split.layers.tolist(), split.heads.tolist()
    by_target: dict[int, list[int]] = {}
    for edge in chosen:
        by_target.setdefault(int(edges.target[edge]), []).append(edge)
    for target, own in track(by_target.items(), "splitting edges by head", unit="nodes"):
        parts = split(*_read_by(sources, targets, target))[0]
        for edge in own:
            source = int(edges.source[edge])
            direct, *rest = parts[:, source].tolist()
            order = sorted(range(len(rest)), key=lambda n: -abs(rest[n]))[:NUM_HEADS]
            largest = [(layers[n + 1], heads[n + 1], rest[n]) for n in order if rest[n]]
            other = sum(rest) - sum(weight for *_, weight in largest)
            found[edge] = Route(source, target, largest, direct, other)
    split.close()
    return [found[edge] for edge in chosen]


def _read_by(sources: Sources, targets: Sequence[Target], node: int) -> tuple[str, Tensor, Tensor]:
    """The site that a node reads, its position [1], and by which vector [1, width]."""
    reading = sources.reading
    device = reading.final.device
    if node >= sources.num_nodes:
        last = torch.tensor([sources.num_positions - 1], device=device)
        return "final", last, targets[node - sources.num_nodes].vector[None].to(device)
    number = int(np.searchsorted(sources.starts, node, side="right")) - 1
    part = sources.features[number].take(torch.tensor([node - sources.starts[number]]))
    return reading.bases[number].read, part.position, reading.encoders(number, part)


def _put_to_test(
    graph: Graph, sources: Sources, goals: Sequence[Linear], start: np.ndarray, other: Other | None
) -> None:
    """Groups of alike features, and the strongest edges between features."""
    nodes, edges = graph.nodes, graph.edges
    graph.supernodes = supernodes(
        sources, nodes, edges, graph.kept_nodes, goals, graph.names, other
    )
    inner = np.arange(len(nodes)) < sources.num_features
    among = inner[edges.source] & inner[edges.target]
    chosen = flow.strongest(edges, start, graph.kept_edges, among, NUM_LINKS)
    some = edges.select(np.array(chosen, dtype=np.int64))
    graph.links = verify_links(sources, some, goals, other)


def _checkpoints(sources: Sources) -> dict[str, list[tuple[int, int]]]:
    return {
        basis.name: list(zip(part.position.tolist(), part.feature.tolist(), strict=True))
        for basis, part in zip(sources.reading.bases, sources.features, strict=True)
        if basis.checkpoint
    }


def _budget(reading: Reading) -> int:
    """How many features are nodes where nothing is asked: all that are active, as far as their
    edges can be held; of neurons fewer on long prompts, whose backward passes take long."""
    num_pos = len(reading.prompt)
    if any(basis.kind in ("neurons", "stream") for basis in reading.bases):
        return max(MIN_MIXED, min(MAX_MIXED, MAX_MIXED * LONG // num_pos))
    others = num_pos * (2 * len(reading.outputs) + 1)
    active = sum(part.num for part in reading.active if part is not None)
    if active <= MAX_FEATURES and active * (active + others) <= MAX_ENTRIES:
        return MAX_FEATURES
    room = MAX_ENTRIES // 2
    return max(1, min(MAX_FEATURES, int((others**2 + 4 * room) ** 0.5 - others) // 2))


def _check_size(sources: Sources, num_targets: int) -> None:
    rows, nodes = sources.num_features + num_targets, sources.num_nodes
    if rows * nodes > MAX_ENTRIES:
        raise InputError(
            f"{sources.num_features} features of {sources.num_positions} tokens give up to "
            f"{rows * nodes} edges",
            expected=f"at most {MAX_ENTRIES}",
            next_step=f"lower max_features to {max(1, MAX_ENTRIES // nodes - num_targets)}",
        )


def _nodes(
    sources: Sources, targets: Sequence[Target], bias: np.ndarray, moving: Sequence[Tensor]
) -> list[Node]:
    nodes, model = source_nodes(sources), sources.reading.model
    effects = of_nodes(sources.reading, moving, sources.features).tolist()
    for node, effect in zip(nodes, effects, strict=False):  # features come first
        node.effect = effect
    nodes += [
        Node(
            "logit",
            None,
            sources.num_positions - 1,
            t.token,
            float(t.vector @ sources.reading.final[-1]),
            token=model.token_text(t.token),
            probability=t.probability,
            against=t.against,
            against_token=None if t.against is None else model.token_text(t.against),
        )
        for t in targets
    ]
    for node, constant in zip(nodes, bias.tolist(), strict=True):
        node.bias = None if np.isnan(constant) else constant
    return nodes
