"""The linearised model: the forward pass as it is, with the gradient of a linear map.

1. Attention patterns are held: queries and keys are cut off the gradient where they are
   projected, so that any attention implementation serves.
2. Norms divide by held denominators: the output keeps its value bit for bit, and gets the
   gradient of  w * (x - mean(x)) / held  (RMS norms: without the mean).
3. No gradient crosses an MLP: what it adds to the stream is a constant.

What is left is linear from any residual stream to any later one, which makes every edge
of an attribution graph exact (https://transformer-circuits.pub/2025/attribution-graphs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from inscape.core import ModelError
from inscape.model.structure import Block, Structure


@contextmanager
def linearised(structure: Structure) -> Iterator[None]:
    """Within the context, gradients through the model are those of the held linear map."""
    with ExitStack() as stack:
        for norm in structure.norms:
            hook = _norm_hook(structure.adapter.norm_offset)
            stack.callback(norm.register_forward_hook(hook).remove)
        for block in structure.blocks:
            for module, hook in _attention_hooks(structure, block):
                stack.callback(module.register_forward_hook(hook).remove)
            # Cut at the input too, so that no graph of the MLP's inside is kept.
            stack.callback(block.mlp.register_forward_pre_hook(_detach_input).remove)
            stack.callback(block.mlp_added.register_forward_hook(_detach_output).remove)
        yield


def _attention_hooks(
    structure: Structure, block: Block
) -> list[tuple[nn.Module, Callable[..., Any]]]:
    if block.qkv is None:
        return [(module, _detach_output) for module in block.query_key]
    detach = structure.detach_query_key
    if detach is None:
        raise ModelError(
            f"the adapter of {structure.adapter.model_type!r} names a fused qkv module only",
            expected="a detach_query_key function beside it",
        )

    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return detach(structure.config, output)

    return [(block.qkv, hook)]


def _detach_output(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.detach()


def _detach_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0].detach(), *args[1:])


def _norm_hook(offset: float) -> Callable[..., Tensor]:
    def hook(norm: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        if not args[0].requires_grad:
            return output
        held = held_norm(norm, args[0], offset).to(output.dtype)
        # held - held.detach() is zero: the value is the norm's own, the gradient held's.
        return output.detach() + (held - held.detach())

    return hook


def held_norm(
    norm: nn.Module, x: Float[Tensor, "*pos d_model"], offset: float = 0.0
) -> Float[Tensor, "*pos d_model"]:
    """`norm(x)` in float32, linear in x: its denominator carries no gradient.

    Args:
        norm: an nn.LayerNorm, or an RMS norm with a `weight` and an epsilon.
        x: [..., d_model].
        offset: added to the weight (gemma stores weight - 1).
    """
    x = x.float()
    if isinstance(norm, nn.LayerNorm):
        x = x - x.mean(-1, keepdim=True)
    scale = (x.detach().pow(2).mean(-1, keepdim=True) + norm_epsilon(norm)).rsqrt()
    out = x * scale * norm_weight(norm, offset)
    bias = getattr(norm, "bias", None)
    return out if bias is None else out + bias.float()


def norm_weight(norm: nn.Module, offset: float = 0.0) -> Tensor | float:
    """What `norm` multiplies with, float32 [d_model] (1.0 if it has no weight)."""
    weight = getattr(norm, "weight", None)
    return 1.0 if weight is None else weight.float() + offset


def norm_epsilon(norm: nn.Module) -> float:
    """The epsilon under the root of `norm`'s denominator."""
    for name in ("variance_epsilon", "eps"):
        epsilon = getattr(norm, name, None)
        if epsilon is not None:
            return float(epsilon)
    raise ModelError(
        f"the norm {type(norm).__name__} has no epsilon", expected="variance_epsilon or eps"
    )
