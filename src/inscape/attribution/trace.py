"""Attribution graph of one target.

1. Gather the sources of the prompt: active transcoder features, MLP errors, embeddings.
2. Choose the targets: the likeliest next tokens, one token, or the difference of two. A logit is
   measured less the mean logit of the vocabulary: softmax does not see a shift that all share.
3. Under frozen attention patterns and norm denominators the map between any two nodes is linear:
   compute the signed edges into the logits, then into the features, a batch a backward pass.
   Where there are more features than `max_features`, the rows that matter most to the targets,
   by the edges known so far, are computed first and the others are left out.
4. Influence, pruning and scores over the sparse edges.

Ameisen et al., "Circuit Tracing: Revealing Computational Graphs in Language Models" (2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inscape.attribution import influence as flow
from inscape.attribution.data import Edges, Mask, Node
from inscape.attribution.graph import Graph
from inscape.attribution.jacobian import Rows
from inscape.attribution.sources import Sources, check_transcoders, gather
from inscape.core import InputError, LabelOf, ModelError, finite_number, no_label, progress, whole
from inscape.dictionary import Dictionary
from inscape.model import Model, Prompt, Source

BATCH_TOKENS = 4096
MAX_BATCH = 128
MAX_FEATURES = 16_384
MAX_LOGITS, LOGIT_SHARE = 10, 0.95  # of the likeliest tokens as targets
MAX_ENTRIES = 2**28  # rows × nodes that may be computed: about a gigabyte before zeros go


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
    transcoders: Mapping[int, Dictionary],
    prompt: Source,
    *,
    target: str | None = None,
    against: str | None = None,
    node_share: float = 0.8,
    edge_share: float = 0.98,
    max_features: int | None = None,
    names: LabelOf = no_label,
) -> Graph:
    """The attribution graph of the token after the prompt.

    transcoders: layer → per-layer transcoder (mlp_in.L to mlp_out.L); a layer without one counts
        as error throughout. prompt: text, or token ids as they are.
    target, against: trace one candidate, or the logit difference of two (default: the likeliest
        tokens, together 0.95 of the probability, at most 10).
    max_features: most features whose inputs are computed (default: 16,384).
    names: labels by (dictionary name, feature), looked up when the graph is shown.
    Raises InputError for unusable candidates, transcoders, shares or prompts.
    """
    _check_shares(node_share=node_share, edge_share=edge_share)
    most = MAX_FEATURES if max_features is None else whole(max_features, "max_features", 1)
    model.require_one_device("tracing")
    check_transcoders(model, transcoders)
    model.check_traceable()
    moved = {id(d): d.to(model.device) for d in transcoders.values()}  # one may have many layers
    transcoders = {layer: moved[id(d)] for layer, d in sorted(transcoders.items())}
    given, tokens, candidates, notes = _candidates(model, prompt, target, against)
    sources = gather(model, transcoders, given)
    targets = choose(model, sources.logits, tokens)
    limit = min(most, max(MAX_ENTRIES // sources.num_nodes, 1))
    notes += _remarks(model, transcoders, sources, limit)
    edges, known, bias = _edges(model, transcoders, sources, targets, limit)
    nodes = _nodes(model, transcoders, given, sources, targets, bias)
    start = _start(targets, sources.num_nodes)
    kinds = np.array([node.kind for node in nodes])
    is_feature, is_error, is_token = (kinds == k for k in ("feature", "error", "embedding"))
    kept_nodes, kept_edges, size = flow.prune(
        edges,
        start,
        always=is_token | (kinds == "logit"),
        is_feature=is_feature,
        node_share=node_share,
        edge_share=edge_share,
        allowed=known | ~is_feature,
    )
    part = size / size.sum() if size.sum() > 0 else size
    for node, influence, rank in zip(nodes, part, flow.ranks(size), strict=True):
        node.influence, node.rank = float(influence), float(rank)
    return Graph(
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
        dictionaries={layer: d.name for layer, d in transcoders.items()},
        settings={
            "node_share": node_share,
            "edge_share": edge_share,
            "max_features": max_features,
            "candidates": candidates,
        },
        notes=notes,
        num_nodes_full=len(nodes),
        num_edges_full=len(edges),
        names=names,
    )


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
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"the logits of {model.name} are not finite",
            next_step="check the model's weights, or open it in float32",
        )
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


def _remarks(
    model: Model, transcoders: Mapping[int, Dictionary], sources: Sources, limit: int
) -> list[str]:
    notes = []
    without = [str(layer) for layer in range(model.num_layers) if layer not in transcoders]
    if without:
        which = f"layer {without[0]}" if len(without) == 1 else f"layers {', '.join(without)}"
        notes.append(f"no transcoder at {which}: there the MLP counts as error")
    if sources.num_features > limit:
        notes.append(
            f"{sources.num_features} features are active; the inputs of the {limit} most "
            "influential ones were computed, the others are left out of the pruned graph"
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


class _Store:
    """Rows as they come, kept sparse; with the biases of the targets."""

    def __init__(self, num_nodes: int) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.known = np.zeros(num_nodes, dtype=bool)
        self.bias = np.full(num_nodes, np.nan)

    def add(self, numbers: Tensor, rows: Tensor, values: Tensor) -> None:
        """Rows [target, node] into the nodes `numbers`, whose values are `values`."""
        bias = values.double() - rows.double().sum(1)
        row, column = torch.nonzero(rows, as_tuple=True)
        where = numbers.cpu().numpy()
        self.parts.append(
            (
                column.cpu().numpy().astype(np.int32),
                where[row.cpu().numpy()].astype(np.int32),
                rows[row, column].cpu().numpy().astype(np.float32),
            )
        )
        self.known[where] = True
        self.bias[where] = bias.cpu().numpy()

    def edges(self) -> Edges:
        source, target, weight = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return Edges(source, target, weight)


def _edges(
    model: Model,
    transcoders: Mapping[int, Dictionary],
    sources: Sources,
    targets: Sequence[Target],
    limit: int,
) -> tuple[Edges, Mask, np.ndarray]:
    """Edges into logits and features; which nodes' inputs are known; the biases [N]."""
    num_nodes = sources.num_nodes + len(targets)
    store = _Store(num_nodes)
    batch = max(1, min(MAX_BATCH, BATCH_TOKENS // sources.num_positions))
    total = min(limit, sources.num_features)
    vectors = torch.stack([t.vector for t in targets]).to(sources.final.device)
    numbers = torch.arange(sources.num_nodes, num_nodes)
    rows = Rows(model, sources, batch)
    with progress("tracing", total, "features") as bar:
        for first in range(0, len(targets), batch):
            part = vectors[first : first + batch]
            values = part @ sources.final
            store.add(numbers[first : first + batch], rows.logits(part), values)
        for chosen in _batches(store, sources, targets, total, batch):
            layer = int(sources.layer[chosen[0]])
            position, gated = sources.position[chosen], sources.gated.get(layer)
            x = None if gated is None else gated[position]
            one, site = transcoders[layer], sources.reads[layer]
            found = rows.features(layer, position, one.encoder_at(site, sources.feature[chosen], x))
            store.add(chosen, found, sources.activation[chosen])
            bar.advance(len(chosen))
    return store.edges(), store.known, store.bias


def _batches(
    store: _Store, sources: Sources, targets: Sequence[Target], total: int, batch: int
) -> Iterator[Tensor]:
    """Feature numbers, a layer's at a time; the most influential first where not all are done."""
    everything = np.arange(sources.num_features)
    if total == sources.num_features:
        yield from _by_layer(everything, sources, batch)
        return
    start = _start(targets, sources.num_nodes)
    rounds = max(total // 8, batch)
    done = 0
    while done < total:
        edges = store.edges()
        size = flow.influence(edges, flow.normalised(edges, len(start)), start)
        open_features = everything[~store.known[: sources.num_features]]
        order = np.argsort(-size[open_features], kind="stable")
        chosen = open_features[order[: min(rounds, total - done)]]
        done += len(chosen)
        yield from _by_layer(np.sort(chosen), sources, batch)


def _by_layer(numbers: np.ndarray, sources: Sources, batch: int) -> Iterator[Tensor]:
    layers = sources.layer.cpu().numpy()[numbers]
    for layer in np.unique(layers):
        here = torch.from_numpy(numbers[layers == layer]).to(sources.layer.device)
        yield from torch.split(here, batch)


def _start(targets: Sequence[Target], num_sources: int) -> np.ndarray:
    return np.concatenate([np.zeros(num_sources), [t.weight for t in targets]])


def _nodes(
    model: Model,
    transcoders: Mapping[int, Dictionary],
    prompt: Prompt,
    sources: Sources,
    targets: Sequence[Target],
    bias: np.ndarray,
) -> list[Node]:
    text = prompt.texts
    columns = (sources.layer, sources.position, sources.feature, sources.activation)
    nodes = [
        Node("feature", layer, p, f, value, token=text[p], dictionary=transcoders[layer].name)
        for layer, p, f, value in zip(*(column.tolist() for column in columns), strict=True)
    ]
    for layer, norms in enumerate(sources.error_norm.tolist()):
        nodes += [Node("error", layer, p, -1, norm, token=text[p]) for p, norm in enumerate(norms)]
    for p, norm in enumerate(sources.embedding_norm.tolist()):
        nodes.append(Node("embedding", None, p, prompt.ids[p], norm, token=text[p]))
    nodes += [
        Node(
            "logit",
            None,
            len(prompt) - 1,
            t.token,
            float(t.vector @ sources.final),
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
