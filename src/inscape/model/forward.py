"""One hooked forward pass: reads and edits sites, and stops at the last one needed.

1. Map each wanted site to a module and a side of it (its input or its output); put one
   hook there, and none anywhere else.
2. In a hook, visit its sites in the order of the computation: edit, then record.
3. An edit of `resid_mid` cannot replace the stream, whose addition happens inside the
   block: it is added, as a difference, to the attention output on its way to the stream.
4. When nothing wanted is left and no logits are, leave the forward pass by an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from inscape.core import InputError
from inscape.model.inputs import Pass
from inscape.model.sites import KINDS, Site
from inscape.model.structure import Block, Structure


@dataclass(frozen=True)
class PositionEdit:
    """An edit that is told of the pass: which positions count, and where in the text they are.

    `function(x, now)`: x [batch, new, d_model] holds the positions of this pass alone (in
    generation from a key-value cache the new token). `fixed`: what it does at a position does not
    depend on later ones, nor on how long the text is; if not, generation runs without a cache.
    `ahead`: sites whose values it finds in `now.clean`, of a pass without edits before this one.
    """

    function: Callable[[Tensor, Pass], Tensor]
    fixed: bool = True
    ahead: tuple[Site, ...] = ()


Action = Callable[[Tensor], Tensor]
Edit = Action | PositionEdit
Side = Literal["input", "output"]


class _Enough(Exception):
    """Raised inside the forward pass once everything wanted is there."""


class HookedPass:
    """The state of one forward pass.

    Args:
        structure: the model's parts.
        reads: sites to record; afterwards in `acts`.
        edits: for each edited site, functions applied one after another.
        stop: whether to leave the pass once the last read (without reads: edit) is done.
        now: what a PositionEdit is told of the pass.
    """

    def __init__(
        self,
        structure: Structure,
        reads: Iterable[Site],
        edits: Mapping[Site, Sequence[Edit]],
        *,
        stop: bool,
        now: Pass | None = None,
    ) -> None:
        self.acts: dict[Site, Tensor] = {}
        self._structure = structure
        self._reads = set(reads)
        self._edits = edits
        self._left = set(self._reads) or set(edits)
        self._stop = stop
        self._now = now
        self._stream: dict[Block, Tensor] = {}  # block inputs that an edit of resid_mid needs

    def __call__(self, forward: Callable[[], Any]) -> Any:
        """Runs `forward` under the hooks; None if the pass was left early."""
        chains = [edit for chain in self._edits.values() for edit in chain]
        ahead = {site for edit in chains if isinstance(edit, PositionEdit) for site in edit.ahead}
        if ahead and self._now is not None:
            before = HookedPass(self._structure, ahead, {}, stop=True)
            before(forward)
            self._now.clean.update({site: x.detach() for site, x in before.acts.items()})
        with ExitStack() as stack:
            for (module, side), actions in self._actions().items():
                if side == "input":  # before any hook that is already there (linearised)
                    handle = module.register_forward_pre_hook(
                        self._input_hook(actions), prepend=True, with_kwargs=True
                    )
                else:
                    handle = module.register_forward_hook(self._output_hook(actions))
                stack.callback(handle.remove)
            try:
                return forward()
            except _Enough:
                return None

    def _actions(self) -> dict[tuple[nn.Module, Side], list[Action]]:
        actions: dict[tuple[nn.Module, Side], list[Action]] = {}
        for site in sorted(self._reads | set(self._edits), key=_order):
            if site.kind == "resid_mid" and site in self._edits:
                block = self._structure.blocks[_layer(site)]
                keep, shift = partial(self._keep_stream, block), partial(self._shift, site, block)
                actions.setdefault((block.module, "input"), []).append(keep)
                actions.setdefault((block.attn_added, "output"), []).append(shift)
            place = _place(self._structure, site)
            actions.setdefault(place, []).append(partial(self._visit, site))
        return actions

    def _visit(self, site: Site, x: Tensor) -> Tensor:
        if site in self._edits and site.kind != "resid_mid":
            x = self._edited(site, x)
        if site in self._reads:
            self.acts[site] = x
        self._left.discard(site)
        return x

    def _edited(self, site: Site, x: Tensor) -> Tensor:
        for edit in self._edits[site]:
            # A copy: one tensor can be several sites, and an edit may work in place.
            copy = x.clone()
            if isinstance(edit, PositionEdit):
                assert self._now is not None
                new = edit.function(copy, self._now)
            else:
                new = edit(copy)
            if not isinstance(new, Tensor) or new.shape != x.shape:
                found = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
                raise InputError(
                    f"the edit of {site} returned {found}",
                    expected=f"a tensor of shape {tuple(x.shape)}",
                )
            x = new.to(dtype=x.dtype, device=x.device)
        return x

    def _keep_stream(self, block: Block, x: Tensor) -> Tensor:
        self._stream[block] = x
        return x

    def _shift(self, site: Site, block: Block, attn_out: Tensor) -> Tensor:
        mid = self._stream.pop(block).to(attn_out.device) + attn_out
        return attn_out + (self._edited(site, mid) - mid)

    def _input_hook(self, actions: list[Action]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (self._act(actions, args[0]), *args[1:]), kwargs
            new = self._act(actions, kwargs["hidden_states"])
            return args, {**kwargs, "hidden_states": new}

        return hook

    def _output_hook(self, actions: list[Action]) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, tuple):
                return (self._act(actions, output[0]), *output[1:])
            return self._act(actions, output)

        return hook

    def _act(self, actions: list[Action], x: Tensor) -> Tensor:
        for action in actions:
            x = action(x)
        if self._stop and not self._left:
            raise _Enough
        return x


def _layer(site: Site) -> int:
    if site.layer is None:
        raise ValueError(f"{site} has no layer")
    return site.layer


def _order(site: Site) -> tuple[float, int]:
    """The order in which one block computes its sites."""
    if site.layer is None:
        return (-1.0 if site.kind == "embed" else math.inf, 0)
    return (site.layer, KINDS.index(site.kind))


def _place(structure: Structure, site: Site) -> tuple[nn.Module, Side]:
    """The module, and the side of it, at which the value of `site` passes."""
    if site.kind == "embed":
        return structure.blocks[0].module, "input"
    if site.kind == "final":
        return structure.final_norm, "output"
    block = structure.blocks[_layer(site)]
    places: dict[str, tuple[nn.Module, Side]] = {
        "resid_pre": (block.module, "input"),
        "attn_out": (block.attn_added, "output"),
        "resid_mid": (block.mid_reader, "input"),
        "mlp_in": (block.mlp, "input"),
        "mlp_out": (block.mlp_added, "output"),
        "resid_post": (block.module, "output"),
    }
    return places[site.kind]
