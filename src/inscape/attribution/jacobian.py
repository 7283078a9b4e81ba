"""Rows of the direct-effect matrix: one backward pass serves a batch of targets.

1. Run the prompt once through the linearised model (attention patterns and norm denominators
   held), with the embedding and every MLP's output replaced by leaves of the same values: no
   gradient crosses an MLP, but where its transcoder has a linear skip, whose map from the MLP's
   input to its output carries one. Where a dictionary reads the stream, the part of it that its
   nodes write is such a leaf too, and what they read does not pass beside them.
2. For each target of a batch: its reading vector (a feature's encoder row at what its basis reads;
   for a neuron its own entry, the inside of the MLP made linear by the half rule; a logit's vector
   at the final norm's output) at its position.
3. One batched vector-Jacobian product gives d target / d leaf for every leaf, position and target.
4. Contract with the vectors that the sources write: the edges into each target.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.attribution.sources import EMBED, Sources
from inscape.model import Looking, Site


class Rows:
    """Computes rows of edges for a traced prompt; holds a graph of gradients while it lives.

    Args:
        batch: number of targets for one backward pass; its memory grows with batch · positions,
            that of the pass itself does not.
        read: further sites that targets may be read from.
        looking: layers of which `looks` keeps what the attention compares.
        attention: whether gradients cross attention at all.
        length: positions that are run; targets at later ones cannot be read. A gradient costs less
            the shorter it is, and nothing at later positions has an edge into an earlier one.
        only: bases whose features are targets (by default all that have nodes); the inside of other
            MLPs is left out of the graph.
    """

    def __init__(
        self,
        sources: Sources,
        batch: int,
        *,
        read: Sequence[str] = (),
        looking: Collection[int] = (),
        attention: bool = True,
        length: int | None = None,
        only: Collection[int] | None = None,
    ) -> None:
        self.sources, self.batch = sources, batch
        self.length = sources.num_positions if length is None else length
        self._leaves: dict[str, Tensor] = {}
        self._read: dict[str, Tensor] = {}
        self._inputs: dict[str, Tensor] = {}
        reading = sources.reading
        self._skips = reading.skips()
        edits: dict[str | Site, Callable[[Tensor], Tensor]] = {EMBED: partial(self._leaf, EMBED)}
        for number, basis in enumerate(reading.bases):
            if basis.checkpoint and sources.features[number].num:
                edits[basis.read] = partial(self._checkpoint, number)
            elif basis.kind == "transcoder" and basis.layer in self._skips:
                edits[basis.read] = partial(self._kept, basis.read)
        for layer in range(len(reading.outputs)):
            edits[f"mlp_out.{layer}"] = partial(self._leaf, f"mlp_out.{layer}")
        numbers = range(len(reading.bases)) if only is None else only
        bases = [reading.bases[n] for n in numbers if sources.features[n].num]
        own = {basis.layer for basis in bases if basis.kind == "neurons"}
        if not attention:
            edits |= {f"attn_out.{layer}": Tensor.detach for layer in range(len(reading.outputs))}
        sites = ["final", *(basis.read for basis in bases if not basis.checkpoint), *read]
        noted: dict[int, list[Looking]] = {layer: [] for layer in looking}
        with reading.model.linearised(mlps=own, looking=noted):
            given = reading.prompt.first(self.length)
            run = reading.model.run(given, read=sites, edits=edits, grad=reading.grad)
        self._read |= {site: run[site] for site in sites}
        self.looks = {layer: found[0] for layer, found in noted.items() if found}

    def _leaf(self, site: str, x: Tensor) -> Tensor:
        if site not in self._leaves:  # blocks may be computed again
            self._leaves[site] = x.detach().clone().requires_grad_(True)
        leaf = self._leaves[site]
        for basis in self.sources.reading.bases:
            if basis.kind == "transcoder" and site == f"mlp_out.{basis.layer}":
                return leaf + self._skipped(basis.layer, basis.read, x)
        return leaf

    def _kept(self, site: str, x: Tensor) -> Tensor:
        self._inputs[site] = x
        return x

    def _skipped(self, layer: int, site: str, like: Tensor) -> Tensor:
        """Zero, with the gradient of the skip where the transcoder encodes."""
        if layer not in self._skips:
            return torch.zeros_like(like)
        x = self._inputs.pop(site)
        passed = (x - x.detach()) @ self._skips[layer].to(x).T
        return passed * self.sources.reading.encoded[: self.length, None].to(x)

    def _checkpoint(self, number: int, x: Tensor) -> Tensor:
        """The stream: its value as it is, what the nodes of a dictionary read taken out of the
        gradient, and what they write as a leaf."""
        reading, part = self.sources.reading, self.sources.features[number]
        part, basis = part.take(part.position < self.length), reading.bases[number]
        self._read.setdefault(basis.read, x)  # blocks may be computed again
        rows = reading.encoders(number, part)
        value = (x[0, part.position].float() * rows).sum(-1)
        written = value[:, None] * reading.decoders(number, part, basis.read)
        taken = torch.zeros_like(x[0], dtype=torch.float32).index_add(0, part.position, written)
        if basis.read not in self._leaves:
            vectors = self.sources.blocks[basis.read].vectors[: self.length].sum(1)
            self._leaves[basis.read] = vectors[None].to(x.dtype).clone().requires_grad_(True)
        leaf = self._leaves[basis.read]
        return x - (taken - taken.detach()).to(x.dtype) + (leaf - leaf.detach())

    def features(self, *parts: tuple[int, Int[Tensor, " target"]]) -> Tensor:
        """Edges [target, node] into features of bases: the number of each, and which of its
        nodes."""
        reading, wanted = self.sources.reading, []
        for number, chosen in parts:
            part = self.sources.features[number].take(chosen)
            rows = reading.encoders(number, part)
            wanted.append((reading.bases[number].read, part.position, rows))
        return self._rows(wanted)

    def logits(
        self, position: Int[Tensor, " target"], vectors: Float[Tensor, "target d_model"]
    ) -> Tensor:
        """Edges [target, node] into what vectors read of the final norm's output."""
        return self._rows([("final", position, vectors)])

    def _rows(self, wanted: Sequence[tuple[str, Tensor, Tensor]]) -> Tensor:
        """Of vectors [target, width], each read at a site and position."""
        num, first, inject = sum(len(vectors) for *_, vectors in wanted), 0, []
        if num > self.batch:
            raise ValueError(f"{num} targets for a batch of {self.batch}")
        outputs = [self._read[site] for site, *_ in wanted]
        for output, (_, position, vectors) in zip(outputs, wanted, strict=True):
            inject.append(output.new_zeros(num, *output.shape))
            rows = first + torch.arange(len(vectors), device=output.device)
            inject[-1][rows, 0, position] = vectors.to(output.dtype)
            first += len(vectors)
        return self.pull(outputs, inject)

    def close(self) -> None:
        """Lets go of the graph. It holds these rows as long as they hold it, where blocks are
        computed again, and no collector of garbage sees that."""
        for held in (self._read, self._leaves, self._inputs, self.looks):
            held.clear()

    def at(self, site: str) -> Tensor:
        """What is read at a site, with its gradients."""
        return self._read[site]

    def pull(
        self, outputs: Sequence[Tensor], vectors: Sequence[Tensor]
    ) -> Float[Tensor, "target node"]:
        """What each node contributes to products of each output with its vectors [target, *shape],
        added up."""
        gradients = self.back(outputs, list(self._leaves.values()), vectors)
        result = torch.zeros(len(vectors[0]), self.sources.num_nodes, device=vectors[0].device)
        for name, gradient in zip(self._leaves, gradients, strict=True):
            if gradient is not None:
                self._contract(name, gradient[:, 0].float(), result)
        return result

    @staticmethod
    def back(
        outputs: Sequence[Tensor], ends: Sequence[Tensor], vectors: Sequence[Tensor]
    ) -> Sequence[Tensor | None]:
        """Gradients [target, *shape] of products of outputs with vectors, at each of the ends."""
        found: Sequence[Tensor | None] = torch.autograd.grad(
            outputs, ends, vectors, retain_graph=True, allow_unused=True, is_grads_batched=True
        )
        return found

    def _contract(self, name: str, gradient: Tensor, result: Tensor) -> None:
        block = self.sources.blocks[name]
        vectors, nodes = block.vectors[: self.length], block.nodes[: self.length]
        # [pos, slot, d] @ [pos, d, target] -> [pos, slot, target]
        edges = torch.bmm(vectors, gradient.permute(1, 2, 0))
        there = nodes >= 0
        result[:, nodes[there]] += edges[there].T  # a feature may write several layers
