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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inscape.core import InputError
from inscape.model.inputs import Pass
from inscape.model.sites import KINDS, Site
from inscape.model.structure import Block, Side, Structure


@dataclass(frozen=True)
class PositionEdit:
    """An edit that is given the pass: which positions count, and where in the text they are.

    `function(x, now)`: x [batch, new, d_model] holds the positions of this pass alone (in
    generation from a key-value cache the new token). `fixed`: what it does at a position does not
    depend on later ones, nor on how long the text is; if not, generation runs without a cache.
    `ahead`: sites whose values it finds in `now.clean`, of a pass without edits before this one.
    """

    function: Callable[[Tensor, Pass], Tensor]
    fixed: bool = True
    ahead: tuple[Site, ...] = ()


Action = Callable[[Tensor], Tensor]
Again = Callable[[], AbstractContextManager[object]]
Edit = Action | PositionEdit


def on_input(module: nn.Module, change: Action) -> Any:
    """A hook, before all that are there, by which the module is given `change` of its input."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)


def on_output(module: nn.Module, change: Action) -> Any:
    """A hook by which the module gives `change` of its output, or of the first of its outputs."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return module.register_forward_hook(hook)


class _Enough(Exception):
    """Raised inside the forward pass once everything wanted is there."""


class HookedPass:
    """The state of one forward pass.

    Args:
        structure: the model's parts.
        reads: sites to record; afterwards in `acts`.
        edits: for each edited site, functions applied one after another.
        stop: whether to leave the pass once the last read (without reads: edit) is done.
        now: what a PositionEdit is given of the pass.
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
        self._repeating = False
        self._stream: dict[Block, Tensor] = {}  # block inputs that an edit of resid_mid needs

    def __call__(self, forward: Callable[[], Any], again: Again | None = None) -> Any:
        """Runs `forward` under the hooks; None if the pass was left early.

        again: what the pass runs in, to be entered once more whenever gradients need a block: it is
        then computed anew instead of kept. Edits are called again and must give what they gave.
        """
        chains = [edit for chain in self._edits.values() for edit in chain]
        ahead = {site for edit in chains if isinstance(edit, PositionEdit) for site in edit.ahead}
        if ahead and self._now is not None:
            before = HookedPass(self._structure, ahead, {}, stop=True)
            before(forward)
            self._now.clean.update({site: x.detach() for site, x in before.acts.items()})
        with self._installed(), ExitStack() as stack:
            if again is not None:
                repeat = partial(self._as_before, again)
                for block in self._structure.blocks:
                    stack.enter_context(_recomputed(block.module, repeat))
            try:
                return forward()
            except _Enough:
                return None

    @contextmanager
    def _installed(self) -> Iterator[None]:
        with ExitStack() as stack:
            for (module, side), actions in self._actions().items():
                # An input before any hook that is already there (linearised).
                changed = on_input if side == "input" else on_output
                stack.callback(changed(module, partial(self._act, actions)).remove)
            first = self._structure.blocks[0].module
            stack.callback(first.register_forward_pre_hook(self._note, with_kwargs=True).remove)
            yield

    @contextmanager
    def _as_before(self, again: Again) -> Iterator[None]:
        """The pass's hooks once more, while a block is computed again; nothing is recorded."""
        self._repeating = True
        try:
            with again(), self._installed():
                yield
        finally:
            self._repeating = False

    def _note(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._shape = (args[0] if args else kwargs["hidden_states"]).shape[-3:-1]

    def _actions(self) -> dict[tuple[nn.Module, Side], list[Action]]:
        actions: dict[tuple[nn.Module, Side], list[Action]] = {}
        for site in sorted(self._reads | set(self._edits), key=_order):
            if site.kind == "resid_mid" and site in self._edits:
                block = self._structure.blocks[site.layer or 0]
                keep, shift = partial(self._keep_stream, block), partial(self._shift, site, block)
                actions.setdefault((block.module, "input"), []).append(keep)
                added = block.places["attn_out"]
                actions.setdefault((added.module, added.side), []).append(shift)
            place = self._structure.place(site)
            visit = partial(self._visit, site, place.scale)
            actions.setdefault((place.module, place.side), []).append(visit)
        return actions

    def _visit(self, site: Site, scale: float, x: Tensor) -> Tensor:
        value = x if scale == 1 else scale * x
        if site in self._edits and site.kind != "resid_mid":
            new = self._edited(site, value)
            x = new if scale == 1 else x + (new - value) / scale
            value = new
        if site in self._reads and not self._repeating:
            self.acts[site] = value
        if self._structure.reuses_memory and (site in self._reads or site in self._edits):
            x = x.clone()  # which the model may add to in place
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
        scale = block.places["attn_out"].scale
        mid = self._stream.pop(block).to(attn_out.device) + scale * attn_out
        return attn_out + (self._edited(site, mid) - mid) / scale

    def _act(self, actions: list[Action], x: Tensor) -> Tensor:
        lane = self._structure.lane
        if lane is not None and x.ndim == 4:
            return torch.cat([x[:lane], self._act(actions, x[lane])[None], x[lane + 1 :]])
        shape = x.shape
        if x.ndim == 2:  # opt's MLP gets the positions of all rows one after another
            x = x.reshape(*self._shape, -1)
        for action in actions:
            x = action(x)
        x = x.reshape(shape)
        if self._stop and not self._left and not self._repeating:
            raise _Enough
        return x


class _Anew:
    """A context that is made anew each time that it is entered."""

    def __init__(self, make: Again) -> None:
        self._make, self._entered = make, ExitStack()

    def __enter__(self) -> None:
        self._entered = ExitStack()
        self._entered.enter_context(self._make())

    def __exit__(self, *raised: Any) -> None:
        self._entered.__exit__(*raised)


@contextmanager
def _recomputed(module: nn.Module, again: Again) -> Iterator[None]:
    """What the module computes is not kept for gradients, but computed anew, in `again`."""
    own, forward = module.__dict__.get("forward"), module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), _Anew(again)),
            **kwargs,
        )

    module.forward = run
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _order(site: Site) -> tuple[float, int]:
    """The order in which one block computes its sites."""
    if site.layer is None:
        return (-1.0 if site.kind == "embed" else math.inf, 0)
    return (site.layer, KINDS.index(site.kind))


@contextmanager
def noting_experts(
    structure: Structure, shape: Sequence[int]
) -> Iterator[dict[int, Int[Tensor, "batch pos k"]]]:
    """The numbers of the experts that each token of a pass goes to, by layer."""
    chosen: dict[int, Tensor] = {}

    def note(layer: int, module: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = (v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        numbers = next(v for v in tensors if v.dtype == torch.int64)
        chosen[layer] = numbers.reshape(*shape, -1)

    with ExitStack() as stack:
        for layer, block in enumerate(structure.blocks):
            if block.experts is not None:
                hook = partial(note, layer)
                handle = block.experts.register_forward_pre_hook(hook, with_kwargs=True)
                stack.callback(handle.remove)
        yield chosen
