"""The parts of one opened model, found by its family's adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inscape.core import ModelError
from inscape.model.adapters import Adapter


@dataclass(frozen=True, eq=False)
class Block:
    """The modules of one block; a norm that the family does not have is None."""

    module: nn.Module
    attn: nn.Module
    mlp: nn.Module
    attn_norm: nn.Module | None
    mlp_norm: nn.Module | None
    attn_post_norm: nn.Module | None
    mlp_post_norm: nn.Module | None
    query_key: tuple[nn.Module, ...]
    qkv: nn.Module | None

    @property
    def attn_added(self) -> nn.Module:
        """The module whose output (or first output) attention adds to the stream."""
        return self.attn_post_norm or self.attn

    @property
    def mlp_added(self) -> nn.Module:
        """The module whose output the MLP adds to the stream."""
        return self.mlp_post_norm or self.mlp

    @property
    def mid_reader(self) -> nn.Module:
        """The module whose input is the stream between attention and MLP."""
        return self.mlp_norm or self.mlp

    @property
    def norms(self) -> list[nn.Module]:
        """Every norm that the residual stream passes through on its way."""
        found = (self.attn_norm, self.mlp_norm, self.attn_post_norm, self.mlp_post_norm)
        return [norm for norm in found if norm is not None]


@dataclass(frozen=True, eq=False)
class Structure:
    """The modules of one model: its blocks, its last norm and its head."""

    adapter: Adapter
    config: Any
    blocks: tuple[Block, ...]
    final_norm: nn.Module
    head: nn.Module
    parallel: bool

    @property
    def norms(self) -> list[nn.Module]:
        """Every norm on the residual stream, the last one included."""
        return [norm for block in self.blocks for norm in block.norms] + [self.final_norm]

    @property
    def detach_query_key(self) -> Callable[[Any, Tensor], Tensor] | None:
        """For fused families, the function that cuts queries and keys off the gradient."""
        return self.adapter.detach_query_key


def find_structure(module: nn.Module, adapter: Adapter) -> Structure:
    """The parts of `module` as `adapter` names them.

    Raises:
        ModelError: a part that the adapter names is not there.
    """
    config: Any = module.config
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    layers = _part(module, adapter.layers, adapter)
    if not isinstance(layers, nn.ModuleList) or len(layers) == 0:
        raise ModelError(
            f"{adapter.layers!r} of this {adapter.model_type} model holds no blocks",
            expected="a ModuleList with at least one block",
        )
    return Structure(
        adapter=adapter,
        config=config,
        blocks=tuple(_block(layer, adapter) for layer in layers),
        final_norm=_part(module, adapter.final_norm, adapter),
        head=_part(module, adapter.head, adapter),
        parallel=adapter.parallel(config),
    )


def _block(layer: nn.Module, adapter: Adapter) -> Block:
    def optional(path: str | None) -> nn.Module | None:
        return None if path is None else _part(layer, path, adapter)

    return Block(
        module=layer,
        attn=_part(layer, adapter.attn, adapter),
        mlp=_part(layer, adapter.mlp, adapter),
        attn_norm=optional(adapter.attn_norm),
        mlp_norm=optional(adapter.mlp_norm),
        attn_post_norm=optional(adapter.attn_post_norm),
        mlp_post_norm=optional(adapter.mlp_post_norm),
        query_key=tuple(_part(layer, path, adapter) for path in adapter.query_key),
        qkv=optional(adapter.qkv),
    )


def _part(module: nn.Module, path: str, adapter: Adapter) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError as error:
        raise ModelError(
            f"{type(module).__name__} has no part {path!r}",
            expected=f"the layout of the family {adapter.model_type!r}",
            next_step="open a causal language model of that family, or correct its adapter",
        ) from error
