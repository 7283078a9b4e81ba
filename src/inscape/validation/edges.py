"""Every edge of an attribution graph against an intervention under the frozen model.

The check is on its own: plain hooks on the Hugging Face modules of a float64 copy of the model,
its own record and replay of what is frozen, its own encoding; it shares no code with the room
that traces, nor with the model room's linearisation.

1. Clean pass with eager attention. Record the attention patterns (softmax's output), the
   denominators of all norms, and the MLPs' inputs and outputs.
2. Frozen pass: z = recorded pattern @ v, with v as it comes out of this pass's own projection;
   norms divide by the recorded denominators; MLPs answer with their recorded outputs.
   Inside an MLP that is read as its neurons activation functions multiply by their recorded ratio
   and a product passes half to each side; where a dictionary reads the stream, the change of the
   features that are nodes is undone there.
3. For each source take out of the frozen pass exactly what it writes: a feature's activation
   times its decoder row, a neuron's times its row of the down projection, or what is left of an
   MLP's output from that output; a feature of the stream from the stream; a token's embedding from
   the embeddings. Many sources go through one batch.
4. The change of a target's pre-activation (or logit, less the mean logit), clean less removed, is
   the measured edge. Features in between cannot pass it on, because MLPs answer as recorded.
5. Error of an edge = |measured − edge| / the largest measured |edge| into the same node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inscape.core import InputError, ModelError, track
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.validation.frozen import FrozenModel

if TYPE_CHECKING:  # the check itself shares nothing with the package that traces
    from inscape.attribution import Graph

BATCH_TOKENS = 4096
TIE = 1e-5


@dataclass(frozen=True)
class EdgeCheck:
    """The outcome.

    max_error: largest |measured − edge| over the largest |measured| edge into that node.
    worst: (source, target, edge, measured) of it. num_edges: edges compared, those that the
    graph says are zero among them (`num_zero`) where the whole graph is given.
    bias_error: largest error of the nodes' constants, relative to the same scale: a frozen pass
    with every source taken out at once must leave exactly the bias (None for a pruned graph).
    """

    max_error: float
    mean_error: float
    num_edges: int
    num_zero: int
    num_targets: int
    num_sources: int
    worst: tuple[int, int, float, float]
    bias_error: float | None = None


def check_edges(
    model: Model,
    dictionaries: Iterable[Dictionary] | Mapping[int, Dictionary],
    graph: Graph,
    *,
    num_edges: int | None = None,
    seed: int = 0,
) -> EdgeCheck:
    """Measures edges by intervention (steps 1 to 5).

    dictionaries: those that the graph was traced with; none for neurons alone.
    num_edges: None: every edge, zero ones included where the graph is whole; else that many drawn
        at random from the graph's edges (`seed`), each with every edge into the same node.
    Raises ModelError for a family that the hooks do not know or values that are not finite,
    InputError for a graph without edges or one whose features are not active in this model with
    these transcoders.
    """
    given = dictionaries.values() if isinstance(dictionaries, Mapping) else dictionaries
    transcoders: dict[int, Dictionary] = {}
    streams: dict[str, Dictionary] = {}
    for dictionary in {id(d): d.to(model.device) for d in given}.values():
        _refuse_unknown(dictionary)
        if dictionary.config.transcoder:
            transcoders[int(dictionary.config.site_out.removeprefix("mlp_out."))] = dictionary
        else:
            streams[dictionary.config.site_in] = dictionary
    if len(graph.edges.source) == 0:
        raise InputError("the graph has no edges", expected="a traced graph")
    targets = _targets(graph, num_edges, seed)
    encoded = np.array(graph.counted or model.prompt(graph.token_ids).counted.tolist())
    there = torch.from_numpy(encoded)[:, None, None].to(model.device)
    skips = {i: there * d.W_skip for i, d in transcoders.items() if d.W_skip is not None}
    neurons = {
        int(node.layer or 0)
        for node in graph.nodes
        if node.kind == "rest" or (node.dictionary or "") == f"mlp_act.{node.layer}"
    } - set(transcoders)
    heads = [
        site
        for layer in range(model.num_layers)
        if (site := f"attn_head.{layer}") in graph.checkpoints
    ]
    frozen = FrozenModel(model, graph.token_ids, skips, neurons, [*streams, *heads])
    with frozen:
        writer = _Writer(frozen, transcoders, streams, graph, encoded)
        reader = _Reader(frozen, transcoders, streams, graph, targets)
        wanted = _sources(graph, targets)
        clean = reader(frozen.run({}, 1))[0]
        measured = torch.zeros(len(targets), len(wanted), dtype=torch.float64)
        size = max(1, BATCH_TOKENS // len(graph.token_ids))
        for first in track(range(0, len(wanted), size), "checking edges", unit="batches"):
            numbers = wanted[first : first + size]
            values = reader(frozen.run(writer(numbers), len(numbers)))
            measured[:, first : first + len(numbers)] = (clean - values).T.cpu()
        constants = None
        if not graph.is_pruned:
            constants = reader(frozen.run(writer.everything(), 1))[0].cpu().numpy()
    if not bool(measured.isfinite().all()):
        raise ModelError(
            f"{model.name} with these dictionaries gives values that are not finite",
            next_step="check the weights for NaN",
        )
    return _compare(graph, targets, wanted, measured.numpy(), constants)


def _refuse_unknown(dictionary: Dictionary) -> None:
    """InputError for a transcoder whose encoding is not written anew in this module."""
    config = dictionary.config
    odd = {
        "is a cross-layer transcoder": config.several,
        "reads the stream before the norm": config.transcoder
        and not config.site_in.startswith("mlp_in."),
        "has a GLU encoder": config.glu,
        "subtracts its decoder bias": config.transcoder and config.subtract_b_dec,
        "normalises each token": config.normalize != "none",
        "chooses signed, weighted or a batch's features": config.signed
        or config.weighted
        or config.scope != "token",
    }
    for what, applies in odd.items():
        if applies:
            raise InputError(
                f"{dictionary.name} {what}: edges of such transcoders are not checked",
                expected="a plain transcoder of each layer, from mlp_in.L to mlp_out.L",
            )


def _targets(graph: Graph, num_edges: int | None, seed: int) -> npt.NDArray[np.int64]:
    everything = np.unique(graph.edges.target).astype(np.int64)
    if num_edges is None or num_edges >= len(graph.edges.target):
        return everything
    chosen = np.random.default_rng(seed).permutation(graph.edges.target)[:num_edges]
    return np.unique(chosen).astype(np.int64)


def _sources(graph: Graph, targets: npt.NDArray[np.int64]) -> list[int]:
    if not graph.is_pruned:
        return [i for i, node in enumerate(graph.nodes) if node.kind != "logit"]
    into = np.isin(graph.edges.target, targets)
    return [int(i) for i in np.unique(graph.edges.source[into])]


def _compare(
    graph: Graph,
    targets: npt.NDArray[np.int64],
    wanted: list[int],
    measured: npt.NDArray[np.float64],
    constants: npt.NDArray[np.float64] | None,
) -> EdgeCheck:
    row = np.full(len(graph.nodes), -1)
    column = np.full(len(graph.nodes), -1)
    row[targets], column[wanted] = np.arange(len(targets)), np.arange(len(wanted))
    edges = graph.edges
    there = (row[edges.target] >= 0) & (column[edges.source] >= 0)
    at = row[edges.target[there]], column[edges.source[there]]
    claimed = np.zeros_like(measured)
    listed = np.zeros(measured.shape, dtype=bool)
    claimed[at], listed[at] = edges.weight[there], True
    compared = listed if graph.is_pruned else np.ones_like(listed)
    scale = np.abs(measured * compared).max(1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    error = np.where(compared, np.abs(measured - claimed) / scale, 0.0)
    worst = np.unravel_index(int(error.argmax()), error.shape)
    bias_error = None
    if constants is not None:
        bias = np.array([getattr(graph.nodes[t], "bias", None) for t in targets], dtype=float)
        bias_error = float((np.abs(constants - bias) / scale[:, 0]).max())
    return EdgeCheck(
        max_error=float(error.max()),
        mean_error=float(error[compared].mean()),
        num_edges=int(compared.sum()),
        num_zero=int((compared & ~listed).sum()),
        num_targets=len(targets),
        num_sources=len(wanted),
        worst=(
            wanted[int(worst[1])],
            int(targets[worst[0]]),
            float(claimed[worst]),
            float(measured[worst]),
        ),
        bias_error=bias_error,
    )


def _heads(frozen: FrozenModel) -> dict[str, int]:
    """How many heads lie side by side, by the sites that are read as heads."""
    config = frozen.module.config
    names = ("num_attention_heads", "num_heads", "n_head")
    count = next((int(getattr(config, name)) for name in names if hasattr(config, name)), 0)
    return dict.fromkeys(frozen.mixed, count)


def _direction(x: Tensor, num_heads: int, head: int) -> Tensor:
    """The direction of what one head gives, of x [width]: all of them side by side."""
    alone = torch.zeros_like(x)
    own = slice(head * len(x) // num_heads, (head + 1) * len(x) // num_heads)
    alone[own] = x[own] / x[own].norm()
    return alone


class _Writer:
    """What each source writes, from this room's own encoding of the clean pass (step 3)."""

    def __init__(
        self,
        frozen: FrozenModel,
        transcoders: Mapping[int, Dictionary],
        streams: Mapping[str, Dictionary],
        graph: Graph,
        encoded: npt.NDArray[np.bool_],
    ) -> None:
        self.frozen, self.graph, self.transcoders = frozen, graph, transcoders
        self.streams = {one.name: (site, one) for site, one in streams.items()}
        self.heads = _heads(frozen)
        self.beside = {*self.streams, *self.heads}
        # Dictionaries never saw beginning-of-text: there the MLP's whole output is error.
        self.encoded = torch.from_numpy(encoded)[:, None].to(frozen.embedded.device)
        self.activations = {i: self._encode(i) for i in transcoders}
        self.errors = [
            frozen.mlp_out[i][0] - self._reconstruction(i) for i in range(frozen.num_layers)
        ]
        self._left: dict[tuple[int, int], Tensor] = {}
        for site, one in streams.items():
            frozen.undoing[site] = self._change(one)
        for site in self.heads:
            frozen.undoing[site] = self._change_of_heads(site)

    def _encode(self, layer: int) -> Tensor:
        """Dense activations [pos, d_dict]: positive pre-activations that are chosen.

        Two that are equal to single precision may be chosen either way: where the whole graph is
        given its choice is taken, after a check that it is such a choice.
        """
        dictionary = self.transcoders[layer]
        x = self.frozen.mlp_in[layer][0]
        pre = x @ dictionary.W_enc.to(x).T + dictionary.b_enc.to(x)
        if dictionary.threshold is not None:
            border = dictionary.threshold.to(x).clamp(min=0).expand_as(pre)
        else:
            border = pre.topk(dictionary.k or 1, dim=-1).values[:, -1:].clamp(min=0)
        chosen = (pre >= border) & (pre > 0) & self.encoded
        if not self.graph.is_pruned:
            here = [node for node in self.graph.nodes if node.layer == layer]
            taken = torch.zeros_like(chosen)
            for node in here:
                if node.kind == "feature" and node.dictionary not in self.beside:
                    taken[node.position, node.feature] = True
            if any(node.kind == "rest" for node in here):  # the nodes are not all that is active
                taken |= chosen
            differs = (taken != chosen) & (taken | (pre > 0))
            if bool((differs & ((pre - border).abs() > TIE * (1 + border))).any()):
                raise InputError(
                    f"the graph's active features of layer {layer} are not those of this model",
                    expected="the model and transcoders that the graph was traced with",
                )
            chosen = taken
        return torch.where(chosen, pre.clamp(min=0), 0.0)

    def _reconstruction(self, layer: int) -> Tensor:
        if layer not in self.transcoders:
            return torch.zeros_like(self.frozen.mlp_out[layer][0])
        dictionary, code = self.transcoders[layer], self.activations[layer]
        return code @ dictionary.W_dec.to(code) + self._constant(layer)

    def _constant(self, layer: int) -> Tensor:
        """What decoder bias and skip, or the MLP's own bias, write in the clean pass [pos, d]."""
        positions = range(len(self.encoded))
        if layer in self.frozen.neurons:
            return torch.stack([self.frozen.constant(layer, p) for p in positions])
        if layer not in self.transcoders:
            return torch.zeros_like(self.frozen.mlp_out[layer][0])
        dictionary, x = self.transcoders[layer], self.frozen.mlp_in[layer][0]
        written = dictionary.b_dec.to(x).expand(len(x), -1)
        if dictionary.W_skip is not None:
            written = written + x @ dictionary.W_skip.to(x).T
        return self.encoded.to(written) * written

    def _change(self, dictionary: Dictionary) -> Tensor:
        """The map [pos, d_model, d_model] from the stream to what the features that are nodes
        make of it."""
        width = dictionary.config.d_in
        change = self.frozen.embedded.new_zeros(len(self.encoded), width, width)
        for position, feature in self.graph.checkpoints.get(dictionary.name, ()):
            row, written = dictionary.W_enc[feature], dictionary.W_dec[feature]
            change[position] += torch.outer(written, row).to(change)
        return change

    def _change_of_heads(self, site: str) -> Tensor:
        """The same of what heads give [pos, width, width]."""
        x = self.frozen.stream[site][0]
        change = x.new_zeros(*x.shape, x.shape[-1])
        for position, head in self.graph.checkpoints[site]:
            given = _direction(x[position], self.heads[site], head)
            change[position] += torch.outer(given, given)
        return change

    def vector(self, number: int) -> tuple[int | str, int, Tensor]:
        """Where (a layer, -1 for the embedding, a site of the stream), the position, and the
        vector [d_model] of a source node."""
        node = self.graph.nodes[number]
        layer, position = int(node.layer or 0), node.position
        begins = not position and not bool(self.encoded[0]) and layer in self.frozen.neurons
        if node.kind == "rest" and begins:
            return layer, 0, torch.zeros_like(self.frozen.embedded[0, 0])
        if node.kind == "embedding":
            return -1, position, self.frozen.embedded[0, position]
        if node.kind == "error":
            return layer, position, self.errors[layer][position]
        if node.kind == "rest":
            return layer, position, self._rest(layer, position)
        if node.dictionary in self.streams:
            site, dictionary = self.streams[node.dictionary]
            x = self.frozen.stream[site][0, position]
            given = x - dictionary.b_dec.to(x) if dictionary.config.subtract_b_dec else x
            value = given @ dictionary.W_enc[node.feature].to(x) + dictionary.b_enc[node.feature]
            return site, position, value * dictionary.W_dec[node.feature].to(x)
        if node.dictionary in self.heads:
            x, count = self.frozen.stream[node.dictionary][0, position], self.heads[node.dictionary]
            given = _direction(x, count, node.feature)
            return node.dictionary, position, (given @ x) * given
        if layer in self.frozen.neurons:
            act = self.frozen.mlp_act[layer][0, position]
            neuron = node.feature % len(act)
            return layer, position, act[neuron] * self.frozen.neuron(layer, neuron, position)
        value = self.activations[layer][position, node.feature]
        if value <= 0:
            raise InputError(
                f"feature {node.feature} of layer {layer} is silent at position {position}",
                expected="the model and transcoders that the graph was traced with",
            )
        return layer, position, value * self.transcoders[layer].W_dec[node.feature].to(value)

    def _rest(self, layer: int, position: int) -> Tensor:
        """What an MLP writes at a position beside its nodes and its constant."""
        if not self._left:
            for i, written in enumerate(self.frozen.mlp_out):
                left = written[0] - self._constant(i)
                left = left - self.errors[i] if i in self.transcoders else left
                self._left |= {(i, p): left[p] for p in range(len(left))}
            for number, node in enumerate(self.graph.nodes):
                if node.kind == "feature" and node.dictionary not in self.beside:
                    place, vector = (int(node.layer or 0), node.position), self.vector(number)[2]
                    self._left[place] = self._left[place] - vector
        return self._left[layer, position]

    def __call__(self, numbers: Sequence[int]) -> dict[int | str, Tensor]:
        """What to take out, one source a batch row."""
        removed: dict[int | str, Tensor] = {}
        shape = (len(numbers), self.frozen.embedded.shape[1])
        for row, number in enumerate(numbers):
            for layer, position, vector in (self.vector(number), *self._beginning(number)):
                if layer not in removed:
                    removed[layer] = vector.new_zeros(*shape, len(vector))
                removed[layer][row, position] = vector
        return removed

    def _beginning(self, number: int) -> list[tuple[int, int, Tensor]]:
        """What neurons write at a beginning-of-text token, which counts to this token."""
        node = self.graph.nodes[number]
        if node.kind != "embedding" or node.position or bool(self.encoded[0]):
            return []
        written = self.frozen.mlp_out
        return [(i, 0, written[i][0, 0] - self._constant(i)[0]) for i in self.frozen.neurons]

    def everything(self) -> dict[int | str, Tensor]:
        """What to take out so that no source is left, decoder biases and skips only."""
        removed: dict[int | str, Tensor] = {-1: self.frozen.embedded}
        for i, written in enumerate(self.frozen.mlp_out):
            removed[i] = written - self._constant(i)
        for number, node in enumerate(self.graph.nodes):
            if node.kind == "feature" and node.dictionary in self.beside:
                site, position, vector = self.vector(number)
                removed.setdefault(site, torch.zeros_like(self.frozen.stream[str(site)]))
                removed[site][0, position] += vector
        return removed


class _Reader:
    """Values of the targets in a frozen pass (step 4)."""

    def __init__(
        self,
        frozen: FrozenModel,
        transcoders: Mapping[int, Dictionary],
        streams: Mapping[str, Dictionary],
        graph: Graph,
        targets: npt.NDArray[np.int64],
    ) -> None:
        self.targets: list[tuple[int | str, int, Tensor, float]] = []
        named, heads = {one.name: (site, one) for site, one in streams.items()}, _heads(frozen)
        where: int | str
        for node in (graph.nodes[int(number)] for number in targets):
            bias = 0.0
            if node.kind == "logit":
                head = frozen.head
                other = head.mean(0) if node.against is None else head[node.against]
                where, vector = frozen.num_layers, head[node.feature] - other
            elif node.dictionary in heads:
                where = node.dictionary
                x = frozen.stream[where][0, node.position]
                vector = _direction(x, heads[where], node.feature)
            elif node.dictionary not in named and node.layer in frozen.neurons:
                where = f"mlp_act.{node.layer}"
                act = frozen.mlp_act[node.layer][0, node.position]
                vector = torch.zeros_like(act)
                vector[node.feature % len(act)] = 1.0 if node.feature < len(act) else -1.0
            else:
                layer = int(node.layer or 0)
                where, one = named.get(node.dictionary or "", (layer, None))
                one = transcoders[layer] if one is None else one
                vector = one.W_enc[node.feature].to(frozen.head)
                bias = float(one.b_enc[node.feature])
                if one.config.subtract_b_dec:
                    bias -= float(one.b_dec.to(vector) @ vector)
            self.targets.append((where, node.position, vector, bias))

    def __call__(self, read: Mapping[int | str, Tensor]) -> Tensor:
        """[batch, target]"""
        values = [
            (read[where][:, position] * vector).sum(-1).double() + bias
            for where, position, vector, bias in self.targets
        ]
        return torch.stack(values, 1).cpu()
