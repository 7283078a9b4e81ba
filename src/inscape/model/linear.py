"""The linearised model: the forward pass as it is, with the gradient of a linear map.

1. In attention, what multiplies values is held: the outputs of softmax (patterns) and of sigmoid
   (gates) carry no gradient, nor do queries and keys where torch's fused attention gets them;
   which experts an attention sends a token to (jetmoe's) stays as it is.
2. Norms divide by held denominators: the output keeps its value bit for bit, and gets the
   gradient of  w * (x - mean(x)) / held  (RMS norms: without the mean).
3. No gradient crosses an MLP: what it adds to the stream is a constant. Or, where asked for, the
   MLP is made linear in what it reads: an activation function f(x) becomes x times the held
   f(x) / x, sigmoid and tanh are held, and a product of two parts (gate and value) passes half of
   the gradient to each, so that what arrives adds up to the product.

What is left is linear from any residual stream to any later one, which makes every edge
of an attribution graph exact (https://transformer-circuits.pub/2025/attribution-graphs).
Whether it is linear is seen from the gradient: that of a linear map depends on nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from inscape.core import ModelError
from inscape.model.forward import HookedPass, on_input, on_output
from inscape.model.sites import Site
from inscape.model.structure import Norm, Structure

MOST_PATTERN = 512  # positions up to which patterns are written out


@contextmanager
def linearised(
    module: nn.Module,
    structure: Structure,
    mlps: Collection[int] = (),
    looking: Mapping[int, list[Looking]] | None = None,
) -> Iterator[None]:
    """Within the context, gradients through the model are those of the held linear map.

    mlps: layers whose MLPs pass gradients too, made linear; the others pass none. looking: by layer
    a list that is given what its attention compares, at each run.
    """
    with ExitStack() as stack:
        stack.enter_context(_visible_patterns(module, structure.config))
        if structure.adapter.held:
            stack.enter_context(_wrapped(module, _Held(structure.adapter.held)))
        for norm in structure.norms:
            hook = norm.module.register_forward_hook(_norm_hook(norm), with_kwargs=True)
            stack.callback(hook.remove)
        for layer, block in enumerate(structure.blocks):
            if block.attn is not None:
                note = (looking or {}).get(layer)
                stack.enter_context(_wrapped(block.attn, _Held(("softmax", "sigmoid"), note)))
            if layer in mlps:
                stack.enter_context(_wrapped(block.module, _LinearMlp()))
            elif block.mlp is not None and block.mlp_added is not None:
                # Cut at the input too, so that no graph of the MLP's inside is kept.
                stack.callback(on_input(block.mlp, Tensor.detach).remove)
                stack.callback(on_output(block.mlp_added, Tensor.detach).remove)
        yield


def check_linear(module: Any, structure: Structure) -> None:
    """Refuses a model of which some block is not linear although patterns and norms are held.

    Seen on one pass of eight tokens: the gradient of a linear map depends on nothing, so that it
    has no gradient itself. That a gradient passes through each attention at all is seen too.

    Raises:
        ModelError: names the first such block.
    """
    fault = structure.fault or _first_bent(module, structure)
    if fault is not None:
        raise ModelError(
            f"this {structure.adapter.model_type} model cannot be traced: {fault}",
            expected="attention whose patterns can be held, and an MLP, in every block",
            next_step="use sites, dictionaries, edits and steering, which work on it",
        )


def _first_bent(module: Any, structure: Structure) -> str | None:
    layers = range(len(structure.blocks))
    for i, block in enumerate(structure.blocks):
        if block.mlp is None or block.attn is None:
            return f"layer {i} is {type(block.attn or block.mlp).__name__} alone"
    embed, final = Site("embed"), Site("final")
    pre, out = ([Site(kind, i) for i in layers] for kind in ("resid_pre", "attn_out"))
    hooked = HookedPass(structure, [final, *pre, *out], {embed: [_leaf]}, stop=True)
    embeddings: Tensor = module.get_input_embeddings().weight
    tokens = torch.arange(min(8, len(embeddings)), device=embeddings.device)[None]
    with linearised(module, structure), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        hooked(lambda: module(input_ids=tokens, use_cache=False))
        acts = hooked.acts
        if not bool(acts[final].isfinite().all()):
            raise ModelError(
                "the activations of this model are not finite",
                next_step="check the model's weights, or open it in float32",
            )
        bent = _depends(acts[final], acts[pre[0]])
        for i, block in enumerate(structure.blocks):
            name = f"layer {i}, {type(block.attn).__name__},"
            if not acts[out[i]].requires_grad:
                return f"{name} passes no gradient on"
            if bent and _depends(acts[out[i]], acts[pre[i]]):
                return f"{name} is not linear in what it reads, its softmax and sigmoids held"
    return "what follows the embedding is not linear" if bent else None


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _depends(y: Tensor, x: Tensor) -> bool:
    """Whether the gradient of y by x depends on x (or on what x is made of)."""
    weights = torch.linspace(-1, 1, y.numel(), device=y.device, dtype=y.dtype).reshape(y.shape)
    (gradient,) = torch.autograd.grad(y, x, weights, create_graph=True, allow_unused=True)
    return gradient is not None and gradient.requires_grad


@dataclass(frozen=True)
class Looking:
    """What an attention compares: the scores are scale · query · key, as `scores` [head, pos, pos]
    before masks and softmax; `pattern` [head, pos, pos] is what comes of them.

    query [head, pos, width] and key [head, pos, width] are as they meet: turned by their positions,
    normalised where the model does that, keys repeated for the heads that share them.
    """

    query: Tensor
    key: Tensor
    scale: float
    pattern: Tensor

    @property
    def scores(self) -> Tensor:
        """[head, query, key]"""
        return self.scale * self.query.detach() @ self.key.detach().transpose(-1, -2)


class _Held(TorchFunctionMode):
    """Functions of these names give no gradient; nor do queries and keys in fused attention."""

    def __init__(self, names: tuple[str, ...], note: list[Looking] | None = None) -> None:
        super().__init__()
        self.names, self.note = names, note
        self._product: tuple[Tensor, Tensor, Tensor] | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            if self.note is not None:
                self.note.append(_fused(*args, **kwargs))
            held = [value.detach() for value in args[:2]]
            kwargs |= {k: v.detach() for k, v in kwargs.items() if k in ("query", "key")}
            return _weighted(func, [*held, *args[2:]], kwargs)
        output, name = func(*args, **kwargs), getattr(func, "__name__", "")
        if self.note is not None:
            if name in ("matmul", "__matmul__") and output.ndim == 4:
                self._product = (args[0], args[1], output)
            elif name == "softmax" and self._product is not None:
                self.note.append(_plain(*self._product, args[0], output))
                self._product = None
        return output.detach() if name in self.names else output


def _weighted(func: Any, args: list[Any], kwargs: dict[str, Any]) -> Tensor:
    """What fused attention gives, its gradient by the pattern where that is small: of the fused one
    many gradients at once are computed one after the other."""
    given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
    value = given["value"]
    if not _moves(value) or value.shape[0] > 1 or value.shape[-2] > MOST_PATTERN:
        output: Tensor = func(*args, **kwargs)
        return output
    with torch.no_grad():
        output = func(*args, **kwargs)
        pattern = _fused(*args, **kwargs).pattern.to(value.dtype)
    weighted = pattern @ value.repeat_interleave(pattern.shape[0] // value.shape[1], 1)
    result: Tensor = output + (weighted - weighted.detach())
    return result


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    **unused: Any,
) -> Looking:
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = scale * query.detach() @ key.detach().transpose(-1, -2)
    if is_causal:
        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return Looking(query[0], key[0], scale, scores.softmax(-1)[0].float())


def _plain(query: Tensor, keys: Tensor, product: Tensor, given: Tensor, output: Tensor) -> Looking:
    """Of attention that is written out: `given` is what softmax was given, of which the scale is
    read off where nothing is masked."""
    seen = (output > 0) & (given > -1e4)
    x, y = product.detach()[seen].double(), given.detach()[seen].double()
    scale = float((x * y).sum() / x.square().sum().clamp_min(1e-30))
    if float((y - scale * x).abs().max()) > 1e-3 * max(float(y.abs().max()), 1e-6):
        raise ModelError(
            "the attention scores of this model are not products of queries and keys alone",
            expected="scores without a soft cap or a term of their own",
        )
    return Looking(query[0], keys[0].transpose(-1, -2), scale, output[0].detach().float())


_HELD = ("sigmoid", "sigmoid_", "tanh", "tanh_", "erf")
_RATIO = ("silu", "gelu", "relu", "relu_", "relu6", "leaky_relu", "elu", "hardswish", "mish")


class _LinearMlp(TorchFunctionMode):
    """Activation functions and products are linear in what they are given (step 3)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if not (args and _moves(args[0])):
            return func(*args, **kwargs)
        x = args[0]
        if name in _HELD:
            return func(x.detach(), *args[1:], **kwargs)
        if name in _RATIO or name in ("square", "pow", "__pow__"):
            value = func(x.detach(), *args[1:], **kwargs)
            ratio = torch.where(x == 0, torch.zeros_like(value), value / x.detach())
            linear = x * ratio
            return value + (linear - linear.detach())
        if name in ("mul", "__mul__", "__rmul__", "mul_") and len(args) > 1 and _moves(args[1]):
            return 0.5 * (x * args[1].detach() + x.detach() * args[1])
        return func(*args, **kwargs)


def _moves(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


@contextmanager
def _wrapped(part: nn.Module, mode: TorchFunctionMode) -> Iterator[None]:
    """The part runs under a mode."""
    own, forward = part.__dict__.get("forward"), part.forward

    def held(*args: Any, **kwargs: Any) -> Any:
        with mode:
            return forward(*args, **kwargs)

    part.forward = held
    try:
        yield
    finally:
        if own is None:
            del part.forward
        else:
            part.forward = own


@contextmanager
def _visible_patterns(module: Any, config: Any) -> Iterator[None]:
    """Attention by other kernels than torch's own gives way to one whose patterns can be held."""
    usual = getattr(config, "_attn_implementation", None)
    if usual in (None, "eager", "sdpa"):
        yield
        return
    module.set_attn_implementation("sdpa" if module._supports_sdpa else "eager")
    try:
        yield
    finally:
        module.set_attn_implementation(usual)


def _norm_hook(norm: Norm) -> Callable[..., Tensor]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Any, output: Tensor) -> Tensor:
        x = args[0] if args else next(iter(kwargs.values()))
        if not x.requires_grad:
            return output
        held = norm.held(x).to(output.dtype)
        # held - held.detach() is zero: the value is the norm's own, the gradient held's.
        return output.detach() + (held - held.detach())

    return hook
