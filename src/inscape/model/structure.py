"""The parts of one opened model: blocks, norms, head, and the places where its sites are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from inscape.core import SiteError
from inscape.model.adapters import Adapter
from inscape.model.sites import Site

Side = Literal["input", "output"]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a site is: a side of a module, the width there, and what its value is multiplied by
    on the way to the residual stream (granite's residual multiplier)."""

    module: nn.Module
    side: Side
    width: int
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm as it is held: weight · (x − mean) / sqrt(mean square + epsilon) + bias.

    centred: whether the mean is subtracted (LayerNorm). offset: added to the stored weight
    (gemma stores weight − 1).
    """

    module: nn.Module
    centred: bool
    offset: float
    epsilon: float

    @property
    def weight(self) -> Tensor | None:
        """What the norm multiplies with, float32; None without a weight."""
        weight = getattr(self.module, "weight", None)
        return None if weight is None else weight.float() + self.offset

    def held(self, x: Float[Tensor, "*pos width"]) -> Float[Tensor, "*pos width"]:
        """The norm of x in float32, linear in x: its denominator carries no gradient."""
        x = x.float()
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        out = x * (x.detach().pow(2).mean(-1, keepdim=True) + self.epsilon).rsqrt()
        weight, bias = self.weight, getattr(self.module, "bias", None)
        out = out if weight is None else out * weight
        return out if bias is None else out + bias.float()


@dataclass(frozen=True, eq=False)
class Block:
    """One block.

    attn: its attention, or another module that mixes positions; mlp: the module that the MLP's
    input enters (a mixture of experts is one MLP); mlp_added: the one whose output is added to the
    residual stream. Each is None where there is none.
    mlp_norm, mlp_post_norm: the norms directly before and after the MLP, or None.
    experts: of a mixture, the module that gets the numbers of the experts that tokens go to.
    norms: those that the stream passes through, inside the attention too.
    places: by site kind. missing: why this block has no place of a kind.
    """

    module: nn.Module
    places: Mapping[str, Place]
    missing: Mapping[str, str]
    attn: Any = None
    mlp: Any = None
    mlp_added: Any = None
    mlp_norm: Norm | None = None
    mlp_post_norm: Norm | None = None
    experts: Any = None
    norms: tuple[Norm, ...] = ()


@dataclass(frozen=True, eq=False)
class Structure:
    """The modules of one model.

    logit_scale: what the head's output is multiplied by; soft_cap: what logits are bent to stay
    under afterwards (gemma 2), or None. fault: the equation that does not hold,
    for a model of which only the residual stream is known; else None. reuses_memory: whether the
    model adds in place to what its modules gave. lane: which of several streams is known, or None.
    """

    adapter: Adapter
    config: Any
    blocks: tuple[Block, ...]
    final_norm: nn.Module
    final: Norm | None
    head: nn.Module
    d_model: int
    logit_scale: float
    soft_cap: float | None
    fault: str | None
    reuses_memory: bool
    lane: int | None

    @property
    def norms(self) -> list[Norm]:
        """Every norm on the residual stream, the last one included."""
        last = [] if self.final is None else [self.final]
        return [norm for block in self.blocks for norm in block.norms] + last

    def place(self, site: Site) -> Place:
        """Where `site` is.

        Raises:
            SiteError: the layer is beyond the last, or the block has no such place (says why).
        """
        if site.kind == "embed":
            return self.blocks[0].places["resid_pre"]
        if site.layer is None:
            return Place(self.final_norm, "output", self.d_model)
        if site.layer >= len(self.blocks):
            raise SiteError(
                f"site {str(site)!r} is beyond the last layer",
                expected=f"a layer from 0 to {len(self.blocks) - 1}",
            )
        block = self.blocks[site.layer]
        if site.kind not in block.places:
            raise SiteError(
                f"site {str(site)!r} does not exist: {block.missing[site.kind]}",
                expected=f"one of {', '.join(f'{kind}.{site.layer}' for kind in block.places)}",
            )
        return block.places[site.kind]
