"""Rows of the direct-effect matrix: one backward pass serves a batch of targets.

1. Run the prompt, repeated `batch` times, through the linearised model (attention patterns and
   norm denominators frozen), with the embedding and every MLP's output replaced by leaves of the
   same values: no gradient crosses an MLP, but where its transcoder has a linear skip, whose map
   from the MLP's input to its output carries one.
2. For each target of a batch put its reading vector (a feature's encoder row at its MLP's input;
   a logit's vector at the final norm's output) at its position in its own copy of the prompt.
3. One vector-Jacobian product gives d target / d leaf for every leaf, position and target.
4. Contract with the vectors that the sources write: the edges into each target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.attribution.sources import EMBEDDING, Sources
from inscape.model import Model, Site


class Rows:
    """Computes rows of edges for a traced prompt; holds a graph of gradients while it lives.

    batch: number of targets for one backward pass; memory grows with batch · positions.
    """

    def __init__(self, model: Model, sources: Sources, batch: int) -> None:
        self.model, self.sources, self.batch = model, sources, batch
        self._leaves: dict[int, Tensor] = {}
        self._inputs: dict[int, Tensor] = {}
        edits: dict[str | Site, Callable[[Tensor], Tensor]] = {
            f"mlp_out.{i}": self._leaf(i) for i in range(model.num_layers)
        }
        edits |= {sources.reads[i]: self._kept(i) for i in sources.skips}
        edits["embed"] = self._leaf(EMBEDDING)
        read = ["final", *sources.reads.values()]
        with model.linearised():
            run = model.run(sources.prompt.repeated(batch), read=read, edits=edits, grad=True)
        self._read: Mapping[Site, Tensor] = run.acts

    def _leaf(self, name: int) -> Callable[[Tensor], Tensor]:
        def replace(x: Tensor) -> Tensor:
            leaf = x.detach().clone().requires_grad_(True)
            self._leaves[name] = leaf
            return leaf if name not in self.sources.skips else leaf + self._skipped(name)

        return replace

    def _kept(self, layer: int) -> Callable[[Tensor], Tensor]:
        def keep(x: Tensor) -> Tensor:
            self._inputs[layer] = x
            return x

        return keep

    def _skipped(self, layer: int) -> Tensor:
        """Zero, with the gradient of the skip where the transcoder encodes."""
        x = self._inputs.pop(layer)
        passed = (x - x.detach()) @ self.sources.skips[layer].to(x).T
        return passed * self.sources.encoded[:, None].to(x)

    def features(self, layer: int, position: Tensor, vectors: Tensor) -> Tensor:
        """Edges [target, node] into features of a layer: positions [target], encoder rows."""
        return self._rows(self.model.site(self.sources.reads[layer]), layer, position, vectors)

    def logits(self, vectors: Float[Tensor, "target d_model"]) -> Tensor:
        """Edges [target, node] into logit targets at the last position."""
        last = torch.full((len(vectors),), self.sources.num_positions - 1, device=vectors.device)
        return self._rows(self.model.site("final"), self.model.num_layers, last, vectors)

    def _rows(self, site: Site, below: int, position: Tensor, vectors: Tensor) -> Tensor:
        if len(vectors) > self.batch:
            raise ValueError(f"{len(vectors)} targets for a batch of {self.batch}")
        output = self._read[site]
        inject = torch.zeros_like(output)
        rows = torch.arange(len(vectors), device=output.device)
        inject[rows, position] = vectors.to(output.dtype)
        names = [EMBEDDING, *(i for i in range(below) if i in self._leaves)]
        gradients = torch.autograd.grad(
            output, [self._leaves[n] for n in names], inject, retain_graph=True, allow_unused=True
        )
        result = torch.zeros(len(vectors), self.sources.num_nodes, device=output.device)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None:
                self._contract(name, gradient[: len(vectors)].float(), result)
        return result

    def _contract(self, name: int, gradient: Tensor, result: Tensor) -> None:
        block = self.sources.blocks[name]
        # [pos, slot, d] @ [pos, d, target] -> [pos, slot, target]
        edges = torch.bmm(block.vectors, gradient.permute(1, 2, 0))
        there = block.nodes >= 0
        result[:, block.nodes[there]] += edges[there].T  # a feature may write several layers
