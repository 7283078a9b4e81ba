"""Finds the parts of a model by looking at what passes through its modules on eight tokens.

1. Run eight tokens; keep what every module got and gave.
2. The blocks are the longest list of modules that each take and give the residual stream.
3. In a block, attention and MLP are recognised by their names; norms by which module gave what
   another one got. What an adapter names is taken instead.
4. What a part adds to the stream is the output of the norm after it, of the part itself or of its
   last projection, times one number: the first with which the parts sum to the stream.
5. A norm is held in the form (with or without mean and offset) that gives what the norm gave.

Each equation is checked to within rounding. One that does not hold is an error where an adapter
names parts; else only the residual stream is taken as known, and the fault is kept for messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from inscape.core import ModelError
from inscape.model.adapters import Adapter
from inscape.model.observation import NUM_TOKENS, Call, Fault, Observation, part_of, same
from inscape.model.sites import LAYER_KINDS
from inscape.model.structure import Block, Norm, Place, Structure

_MIXER = re.compile(r"att(n|ention)|mixer|mamba|conv|temporal|lstm")
_NORM = re.compile(r"norm|dropout|ln_")
_MLP = re.compile(r"mlp|ffn|feed_forward|moe|^fc\d")


def inspect(module: nn.Module, adapter: Adapter) -> Structure:
    """The parts of `module`, each found or named, and checked.

    Raises:
        ModelError: there are no blocks or no head, a named part is not there, or an equation does
            not hold with the parts that the adapter names.
    """
    head: nn.Module | None = getattr(module, "get_output_embeddings", lambda: None)()
    if head is None:
        raise ModelError(
            f"{type(module).__name__} has no head that gives logits",
            expected="a Hugging Face causal language model",
        )
    try:
        seen = Observation(module, adapter.lane)
    except Exception as error:  # whatever it is, this module does not run
        raise ModelError(
            f"{type(module).__name__} fails on eight tokens ({type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]})",
            expected="a causal language model that takes token ids",
        ) from error
    layers = _find_layers(module, adapter, seen)
    last = _find_last(module, adapter, layers[-1], seen)
    final, scale, fault = None, 1.0, None
    try:
        if last in seen.again:
            raise Fault(f"{type(last).__name__}, the norm before the head, is called elsewhere too")
        final = seen.norm(seen.calls[last], "before the head")
        scale = _logit_scale(head, seen.calls[last], seen)
    except Fault as error:
        fault = str(error)
    try:
        for n, (one, two) in enumerate(pairwise(layers)):
            given, got = seen.calls[one].y, seen.calls[two].x
            seen.hold(f"resid_post.{n} = resid_pre.{n + 1}", seen.off(given, got, got))
        blocks = [_BlockParts(n, layer, adapter, seen).block() for n, layer in enumerate(layers)]
    except Fault as error:
        fault = str(error)
        blocks = [_bare(seen.calls[layer], fault) for layer in layers]
    if fault is not None and adapter.names_parts:
        raise ModelError(
            f"the adapter of {adapter.model_type!r} does not fit this model: {fault}",
            expected="parts whose sum is the residual stream",
            next_step="correct the adapter, or leave its parts to inspection",
        )
    used = {place.module for block in blocks for place in block.places.values()}
    return Structure(
        adapter=adapter,
        config=seen.config,
        blocks=tuple(blocks),
        final_norm=last,
        final=final,
        head=head,
        d_model=int(seen.calls[layers[0]].x.shape[-1]),
        logit_scale=scale,
        soft_cap=seen.soft_cap,
        fault=fault,
        lane=seen.lane,
        reuses_memory=any(seen.calls[part].changed for part in used),
    )


def _find_layers(module: nn.Module, adapter: Adapter, seen: Observation) -> list[nn.Module]:
    lists: Iterable[nn.Module] = module.modules()
    if adapter.layers is not None:
        lists = [part_of(module, adapter.layers, adapter.model_type)]
    found: list[nn.Module] = []
    for one in lists:
        if isinstance(one, nn.ModuleList) and len(one) > len(found):
            calls = seen.of(one)
            shapes = {call.x.shape for call in calls} | {call.y.shape for call in calls}
            if len(calls) == len(one) and all(s[1:-1] == (NUM_TOKENS,) for s in shapes):
                found = list(one) if len(shapes) == 1 else found
    if not found:
        raise ModelError(
            f"this {adapter.model_type} model has no blocks that take and give one residual stream",
            expected="a list of modules from [batch, pos, d_model] to the same",
            next_step="name it in an adapter (layers=...), if it has one",
        )
    return found


def _find_last(
    module: nn.Module, adapter: Adapter, layer: nn.Module, seen: Observation
) -> nn.Module:
    """The norm behind the last block; that block itself where there is none."""
    if adapter.final_norm is not None:
        return part_of(module, adapter.final_norm, adapter.model_type)
    order = list(seen.calls)
    after = order[order.index(layer) + 1 :]
    return next((part for part in after if seen.calls[part].is_norm), layer)


def _logit_scale(head: nn.Module, last: Call, seen: Observation) -> float:
    """What the head's output is multiplied by to give the logits (before a soft cap)."""
    with torch.no_grad():
        plain = head(last.given[1].to(next(head.parameters()).device)).to("cpu", torch.float32)
    cap, logits = seen.soft_cap, seen.logits
    if cap is not None:
        logits = torch.atanh((logits / cap).clamp(-0.99, 0.99)) * cap
    scale = seen.factor(plain, logits)
    found = scale * plain if cap is None else torch.tanh(scale * plain / cap) * cap
    seen.hold("head(final) = logits", seen.off(found, seen.logits, seen.logits))
    return scale


def _bare(whole: Call, fault: str) -> Block:
    """A block of which only the residual stream is known."""
    ends = _ends(whole)
    missing = {kind: fault for kind in LAYER_KINDS if kind not in ends}
    return Block(whole.module, ends, missing)


def _ends(whole: Call) -> dict[str, Place]:
    width = int(whole.x.shape[-1])
    sides = (("resid_pre", "input"), ("resid_post", "output"))
    return {kind: Place(whole.module, side, width) for kind, side in sides}  # type: ignore[arg-type]


class _Added(NamedTuple):
    """What a part adds to the stream: what a module gave, times a number."""

    call: Call
    scale: float
    holds: bool = True

    @property
    def place(self) -> Place:
        return Place(self.call.module, "output", int(self.call.y.shape[-1]), self.scale)


class _BlockParts:
    """Finds the parts of one block (steps 3 to 5)."""

    def __init__(self, n: int, layer: nn.Module, adapter: Adapter, seen: Observation) -> None:
        self.n, self.adapter, self.seen, self.whole = n, adapter, seen, seen.calls[layer]
        self.attn, self.enter, self.leave = self._mixer_and_mlp()
        self.in_mlp = [] if self.enter is None else self._within(self.enter, self.leave)
        self.in_attn = [] if self.attn is None else self._within(self.attn)
        self.norms = [c for c in seen.of(layer.modules()) if c.is_norm and c not in self.in_mlp]

    def _within(self, *parts: Call | None) -> list[Call]:
        modules = [inner for part in parts if part for inner in part.module.modules()]
        return self.seen.of(modules)

    def _mixer_and_mlp(self) -> tuple[Call | None, Call | None, Call | None]:
        """The attention, and the calls with which the MLP begins and ends."""
        layer = self.whole.module
        named = {
            name: self.seen.calls[child]
            for name, child in layer.named_children()
            if child in self.seen.calls and not _NORM.search(name)
        }
        order = list(self.seen.calls.values())
        mixers = [call for name, call in named.items() if _MIXER.search(name)]
        mlps = [c for name, c in named.items() if _MLP.search(name) and c not in mixers]
        mlps.sort(key=order.index)
        if self.adapter.attn is not None:
            mixers = [self._named(self.adapter.attn)]
        if self.adapter.mlp is not None:
            mlps = [self._named(self.adapter.mlp)]
        if len(mixers) > 1 or not (mixers or mlps):
            names = ", ".join(named) or "nothing"
            raise Fault(f"layer {self.n} has not one attention and one MLP but {names}")
        attn = mixers[0] if mixers else None
        return attn, mlps[0] if mlps else None, mlps[-1] if mlps else None

    def _named(self, path: str) -> Call:
        part = part_of(self.whole.module, path, self.adapter.model_type)
        if part not in self.seen.calls:
            raise Fault(f"{path} of layer {self.n} is not called with a tensor that it changes")
        return self.seen.calls[part]

    def block(self) -> Block:
        """The block, its equations checked; raises Fault."""
        whole, enter = self.whole, self.enter
        reader = enter and next((call for call in self.norms if same(call.y, enter.x)), enter)
        parallel = bool(self.attn and reader and same(reader.x, whole.x))
        attn, mlp = self._addends(reader, parallel)
        places, missing = _ends(whole), {"resid_mid": "its block is attention or MLP alone"}
        if attn is not None and self.attn is not None:
            places["attn_out"] = attn.place
            heads = self._projection(self.in_attn, self.attn, attn)
            if heads is not None and "att" in type(self.attn.module).__name__.lower():
                places["attn_head"] = _input(heads)
            missing["attn_head"] = "no heads are found before its projection"
        if mlp is not None and enter is not None and self.leave is not None:
            places["mlp_in"], places["mlp_out"] = _input(enter), mlp.place
            if (down := self._projection(self.in_mlp, self.leave, mlp)) is not None:
                places["mlp_act"] = _input(down)
            missing["mlp_act"] = "no down projection is found in its MLP"
        if attn is not None and reader is not None:
            missing["resid_mid"] = "attention and MLP run in parallel"
            if not parallel and attn.holds:
                places["resid_mid"] = _input(reader)
        experts = next((c.module for c in self.in_mlp if c.module in self.seen.experts), None)
        if experts is not None:
            places.pop("mlp_act", None)
            missing["mlp_act"] = "its MLP is a mixture of experts, whose neurons differ by token"
        for kind in LAYER_KINDS:
            part = "attention" if kind.startswith("attn") else "MLP"
            missing.setdefault(kind, f"its block has no {part}")
        places = {kind: places[kind] for kind in LAYER_KINDS if kind in places}
        if again := [kind for kind, place in places.items() if place.module in self.seen.again]:
            raise Fault(f"the module at {again[0]}.{self.n} is called more than once")
        return Block(
            module=whole.module,
            attn=None if self.attn is None else self.attn.module,
            mlp=None if enter is None else enter.module,
            mlp_added=None if mlp is None else mlp.call.module,
            mlp_norm=self._norm(reader),
            mlp_post_norm=self._norm(mlp and mlp.call),
            experts=experts,
            norms=self._held_norms(reader, attn, mlp),
            places=places,
            missing=missing,
        )

    def _addends(self, reader: Call | None, parallel: bool) -> tuple[_Added | None, _Added | None]:
        """What attention and MLP add to the stream, so that the parts sum to it."""
        pre, post, name = self.whole.x, self.whole.y, self.adapter
        from_attn = self._candidates(self.attn, self.in_attn, name.attn_added)
        from_mlp = self._candidates(self.leave, self.in_mlp, name.mlp_added)
        if not from_mlp:
            return self._added("resid_pre + attn_out = resid_post", pre, post, from_attn), None
        assert reader is not None
        equation = "resid_mid + mlp_out = resid_post"
        if not from_attn:
            return None, self._added(equation, pre, post, from_mlp)
        if not parallel:
            mid = reader.x.reshape(pre.shape)
            attn = self._added("resid_pre + attn_out = resid_mid", pre, mid, from_attn)
            return attn, self._added(equation, mid, post, from_mlp)
        equation = "resid_pre + attn_out + mlp_out = resid_post"
        call = from_attn[0]
        mlp = self._added(equation, pre + call.y.reshape(pre.shape), post, from_mlp)
        return _Added(call, 1.0), mlp

    def _candidates(self, part: Call | None, inside: list[Call], named: str | None) -> list[Call]:
        """The modules whose output a part may add: the norm after it, itself, its projections."""
        if part is None:
            return []
        if named is not None:
            return [self._named(named)]
        after = [call for call in self.norms if same(call.x, part.y)]
        inner = [c for c in reversed(inside) if c.y.numel() == self.whole.y.numel()]
        return [*after, part, *(c for c in inner if c is not part)]

    def _added(self, equation: str, before: Tensor, after: Tensor, found: list[Call]) -> _Added:
        moved, least = after - before, 1.0
        for call in found:
            if call.y.numel() != moved.numel():
                continue
            value = call.y.reshape(moved.shape)
            scale = self.seen.factor(value, moved)
            off = self.seen.off(before + scale * value, after, moved)
            if self.seen.holds(off):
                return _Added(call, scale)
            least = min(least, off)
        if not self.adapter.adds:
            return _Added(found[0], 1.0, holds=False)
        self.seen.hold(f"{equation} at layer {self.n}", least)
        raise AssertionError

    def _projection(self, inside: list[Call], part: Call, added: _Added) -> Call | None:
        """The linear map whose output the part gives (before a norm), if there is one."""
        for call in reversed(inside):
            weight = getattr(call.module, "weight", None)
            is_linear = isinstance(weight, Tensor) and weight.ndim == 2
            if is_linear and (same(call.y, part.y) or call is added.call):
                return call
        return None

    def _norm(self, call: Call | None) -> Norm | None:
        if call is None or not call.is_norm:
            return None
        return self.seen.norm(call, f"of layer {self.n}")

    def _held_norms(
        self, reader: Call | None, attn: _Added | None, mlp: _Added | None
    ) -> tuple[Norm, ...]:
        """The norms that gradients pass through. Others inside the attention may have any form."""
        found = []
        for call in self.norms:
            before_attn = self.attn is not None and same(call.y, self.attn.x)
            if call.module in self.seen.again or (mlp is not None and call is mlp.call):
                continue  # one norm of queries and of keys; what the MLP adds is a constant
            try:
                found.append(self.seen.norm(call, f"of layer {self.n}"))
            except Fault:
                if before_attn or call is reader or (attn is not None and call is attn.call):
                    raise
        return tuple(found)


def _input(call: Call) -> Place:
    return Place(call.module, "input", int(call.x.shape[-1]))
