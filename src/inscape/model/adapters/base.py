"""What may be said of a model family whose parts inspection does not find, or finds wrongly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Names of parts of one model family: dotted module paths, those of blocks relative to the
    block. What is None is found by inspection; what is named is checked like what is found.

    Args:
        model_type: the family's `model_type` in config.json.
        layers: the list of blocks.
        final_norm: the norm whose output the head reads.
        attn: the attention (its output, or the first of its outputs, is what it computes).
        mlp: the MLP.
        attn_added: the module whose output the attention adds to the residual stream (a norm
            after the attention, where there is one).
        mlp_added: the same of the MLP.
        images: whether the family reads images too.
        adds: whether the residual stream is the sum of its parts. Where it is not, what attention
            and MLP give is taken as it is.
        lane: where several streams lie side by side [lane, batch, pos, d_model], the setting of
            the configuration that says on which one attention and MLP work.
        held: functions whose outputs multiply the stream outside of attention and norms, or that
            stand for a part of their own: held in tracing, as attention patterns are.
    """

    model_type: str
    layers: str | None = None
    final_norm: str | None = None
    attn: str | None = None
    mlp: str | None = None
    attn_added: str | None = None
    mlp_added: str | None = None
    images: bool = False
    adds: bool = True
    lane: str | None = None
    held: tuple[str, ...] = ()

    @property
    def names_parts(self) -> bool:
        """Whether any part is not left to inspection."""
        names = (self.layers, self.final_norm, self.attn, self.mlp, self.attn_added, self.mlp_added)
        return any(name is not None for name in names)
