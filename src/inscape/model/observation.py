"""What passes through the modules of a model on eight tokens, and equations between it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from inscape.core import ModelError
from inscape.model.structure import Norm

NUM_TOKENS = 8
TOLERANCE = 1e-4
_IMAGE_IDS = ("image_token_id", "image_token_index", "video_token_id", "audio_token_id")
_EPSILONS = ("variance_epsilon", "eps", "epsilon")
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_FACTOR = re.compile(r"scal|mult")


class Fault(Exception):
    """An equation that does not hold."""


@dataclass(frozen=True, eq=False)
class Call:
    """What one module got and gave, fp32 on the CPU; `given`: the same as the model has them,
    which it may change afterwards."""

    module: nn.Module
    x: Tensor
    y: Tensor
    given: tuple[Tensor, Tensor]

    @property
    def is_norm(self) -> bool:
        return "norm" in type(self.module).__name__.lower() and self.x.shape == self.y.shape

    @property
    def changed(self) -> bool:
        """Whether the model wrote over what it got or gave."""
        kept = zip((self.x, self.y), self.given, strict=True)
        return not all(same(copy, value.to("cpu", torch.float32)) for copy, value in kept)


class Observation:
    """One pass of eight tokens.

    calls: the last of each module, in the order of their ends. experts: the modules that got
    the numbers of the experts that each token goes to; again: those called more than once.
    """

    def __init__(self, module: nn.Module, lane: str | None = None) -> None:
        config: Any = module.config
        self.config = config.get_text_config() if hasattr(config, "get_text_config") else config
        self.lane: int | None = None if lane is None else getattr(self.config, lane)
        found = (getattr(self.config, name, None) for name in _SOFT_CAPS)
        self.soft_cap: float | None = next((cap for cap in found if cap), None)
        self.calls: dict[nn.Module, Call] = {}
        self.experts: set[nn.Module] = set()
        self.again: set[nn.Module] = set()
        model: Any = module
        embeddings: Tensor = model.get_input_embeddings().weight
        images = {getattr(config, name, None) for name in _IMAGE_IDS}
        ids = [i for i in range(min(99, len(embeddings))) if i not in images][-NUM_TOKENS:]
        tokens = torch.tensor([(ids * NUM_TOKENS)[:NUM_TOKENS]], device=embeddings.device)
        with ExitStack() as stack, torch.no_grad():
            for part in module.modules():
                hook = part.register_forward_hook(self._note, with_kwargs=True)
                stack.callback(hook.remove)
            logits = model(input_ids=tokens, use_cache=False).logits
        self.rounding = torch.finfo(logits.dtype).eps
        self.logits: Tensor = logits.to("cpu", torch.float32)

    def _note(self, part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        x = args[0] if args else kwargs.get("hidden_states", inputs[0] if inputs else None)
        y = output[0] if isinstance(output, tuple) else output
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and y.is_floating_point()):
            return
        if x.is_floating_point() and any(value.dtype == torch.int64 for value in inputs[1:3]):
            self.experts.add(part)
        if part in self.calls:
            self.again.add(part)
        given = self._stream(x.detach()), self._stream(y.detach())
        copies = [value.to("cpu", torch.float32, copy=True) for value in given]
        self.calls.pop(part, None)
        self.calls[part] = Call(part, copies[0], copies[1], given)

    def _stream(self, x: Tensor) -> Tensor:
        several = self.lane is not None and x.ndim == 4 and x.shape[1:3] == (1, NUM_TOKENS)
        return x[self.lane] if several else x

    def of(self, parts: Iterable[nn.Module]) -> list[Call]:
        """The calls of these modules, in the order of their ends."""
        wanted = set(parts)
        return [call for part, call in self.calls.items() if part in wanted]

    def off(self, found: Tensor, wanted: Tensor, scale: Tensor) -> float:
        """How far `found` is from `wanted` beyond rounding, as a fraction of the largest of `scale`
        (0 where values are not finite: broken weights are not the parts' fault)."""
        error = (found - wanted).abs() - 8 * self.rounding * wanted.abs()
        error = error.nan_to_num(0, 0, 0).clamp(min=0).max()
        return float((error / scale.abs().max()).nan_to_num(0, 0, 0))

    def holds(self, off: float) -> bool:
        """Whether an equation that is off by so much holds."""
        return off <= max(TOLERANCE, 4 * self.rounding)

    def hold(self, equation: str, off: float) -> None:
        """Raises Fault where an equation is off by more than rounding."""
        if not self.holds(off):
            raise Fault(f"{equation} does not hold, it is off by {min(off, 9.99):.2g} of its size")

    def norm(self, call: Call, where: str) -> Norm:
        """The form in which a norm is held; Fault where none gives what the norm gave."""
        named = (getattr(call.module, name, None) for name in _EPSILONS)
        epsilons = [float(e) for e in named if e is not None] or [1e-5, 1e-6, 0.0]
        best, least = None, math.inf
        for epsilon, offset, centred in product(epsilons, (0.0, 1.0), (False, True)):
            norm = Norm(call.module, centred, offset, epsilon)
            try:
                held = norm.held(call.given[0]).to("cpu", torch.float32)
            except RuntimeError:  # the weight has another shape
                continue
            off = self.off(held, call.y, call.y)
            if off < least:
                best, least = norm, off
        self.hold(f"held norm = {type(call.module).__name__} {where}", least)
        assert best is not None
        return best

    def factor(self, part: Tensor, whole: Tensor) -> float:
        """The number that `part` is to be multiplied by to give `whole`: 1, or one that the
        configuration names, where it is as near as rounding allows."""
        found = float((part * whole).sum() / part.square().sum())
        if not math.isfinite(found):
            return 1.0
        named = [
            float(value)
            for name, value in vars(self.config).items()
            if _FACTOR.search(name) and isinstance(value, int | float) and value
        ]
        for value in (1.0, *named, *(1 / value for value in named)):
            if abs(found / value - 1) <= max(TOLERANCE, self.rounding):
                return value
        return float(f"{found:.5g}")


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers in the same order."""
    return a.numel() == b.numel() and bool(
        torch.equal(a.reshape(b.shape).nan_to_num(0), b.nan_to_num(0))
    )


def part_of(module: nn.Module, path: str, model_type: str) -> nn.Module:
    """The part that an adapter names.

    Raises:
        ModelError: it is not there.
    """
    try:
        return module.get_submodule(path)
    except AttributeError as error:
        raise ModelError(
            f"{type(module).__name__} has no part {path!r}",
            expected=f"the parts that the adapter of {model_type!r} names",
            next_step="correct the adapter, or leave the part to inspection",
        ) from error
