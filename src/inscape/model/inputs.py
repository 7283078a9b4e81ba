"""What a forward pass is given and gives, and what edits may know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError, SiteError
from inscape.model.sites import Site

Logits = Literal["none", "last", "all"]


@dataclass(frozen=True)
class Inputs:
    """Token ids [batch, pos], with pictures and with what edits have to know about positions.

    `pixel_values` is [picture, 3, height, width] as the model takes it, in the order of the
    image tokens. `counted` [batch, pos], or a function that gives it: the positions that edits
    touch by default (None: all but special tokens; positions behind its end likewise).
    """

    tokens: Int[Tensor, "batch pos"]
    pixel_values: Float[Tensor, "picture 3 height width"] | None = None
    counted: Bool[Tensor, "batch pos"] | Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class Run:
    """What one forward pass gave.

    `acts` holds [batch, pos, width] for each site read, in the model's precision;
    `run["resid_post.3"]` looks one up. `logits` is float32 [batch, pos, vocab], or
    [batch, 1, vocab] for the last position, or None.
    """

    acts: dict[Site, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None

    def __getitem__(self, site: str | Site) -> Tensor:
        wanted = Site.parse(site)
        if wanted not in self.acts:
            raise SiteError(
                f"{wanted} was not read in this run",
                expected=", ".join(map(str, self.acts)) or "nothing: it read no site",
                next_step="name it in read=[...]",
            )
        return self.acts[wanted]


@dataclass(frozen=True)
class Pass:
    """What a `PositionEdit` may know of the pass that it is in.

    counted [batch, pos]: the positions of the whole text that edits touch by default; offset: the
    position in the text of this pass's first token (above 0 where a cache holds those before);
    length: how many positions the text may come to have. clean: what the sites that a
    `PositionEdit` asks for `ahead` hold in a pass without edits.
    """

    counted: Bool[Tensor, "batch pos"]
    offset: int
    length: int
    clean: dict[Site, Tensor] = field(default_factory=dict)

    @property
    def here(self) -> Bool[Tensor, "batch new"]:
        """`counted` at the positions of this pass."""
        return self.counted[:, self.offset :]


def check_tokens(tokens: Tensor, room: int, name: str, context: int, vocab_size: int) -> None:
    """InputError unless tokens are ids [batch, pos] that the model takes, with `room` for more."""
    if not isinstance(tokens, Tensor):
        raise InputError(
            f"tokens of type {type(tokens).__name__}",
            expected="integer ids of shape [batch, pos], or a prompt",
            next_step="make one with model.prompt(...)",
        )
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise InputError(
            f"tokens of shape {tuple(tokens.shape)} and type {tokens.dtype}",
            expected="integer ids of shape [batch, pos]",
        )
    if tokens.numel() == 0:
        raise InputError("there are no tokens", expected="at least one")
    if tokens.shape[1] + room > context:
        more = f" and {room} new ones" if room else ""
        raise InputError(
            f"{tokens.shape[1]} tokens of text{more} do not fit",
            expected=f"at most {context}, the context of {name}",
            next_step="shorten the text" + (" or write fewer tokens" if room else ""),
        )
    low, high = (int(bound) for bound in tokens.aminmax())
    if low < 0 or high >= vocab_size:
        raise InputError(
            f"token id {low if low < 0 else high} is out of range",
            expected=f"ids from 0 to {vocab_size - 1}, the vocabulary of {name}",
        )


def module_inputs(tokens: Tensor, mask: Tensor | None, logits: str) -> dict[str, Any]:
    """The module's arguments for one pass over `tokens`, under an attention mask or none."""
    inputs: dict[str, Any] = {"input_ids": tokens, "use_cache": False}
    inputs["logits_to_keep"] = 1 if logits == "last" else 0
    if mask is not None:
        mask = _checked_mask(mask, tokens)
        # transformers counts positions over padding on the left; the model must not.
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        inputs |= {"attention_mask": mask, "position_ids": positions}
    return inputs


def _checked_mask(mask: Any, tokens: Tensor) -> Tensor:
    expected = f"1 for tokens and 0 for padding, of shape {tuple(tokens.shape)}"
    if not isinstance(mask, Tensor):
        raise InputError(f"attention_mask of type {type(mask).__name__}", expected=expected)
    if mask.shape != tokens.shape:
        raise InputError(f"attention_mask of shape {tuple(mask.shape)}", expected=expected)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("attention_mask with other values than 0 and 1", expected=expected)
    if not bool(mask.any(1).all()):
        raise InputError("attention_mask has a row of padding alone", expected=expected)
    return mask.to(device=tokens.device, dtype=torch.long)
