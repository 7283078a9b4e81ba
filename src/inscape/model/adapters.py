"""What is declared of model families by name; everything else is found by inspection.

Another package adds a family by an entry point of the group `inscape.adapters`, whose
name is the `model_type` and which loads to an `Adapter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from inscape.core import ModelError

ENTRY_POINT_GROUP = "inscape.adapters"


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


_POWERS = ("pow", "__pow__", "sqrt")
_OWN = (
    Adapter(model_type="llava", images=True),
    # Four streams mixed by tanh gates, brought to one magnitude at the end; gates of per-layer
    # embeddings (gelu) add a part that is no MLP.
    Adapter(
        model_type="gemma3n_text",
        adds=False,
        lane="altup_active_idx",
        held=("tanh", "gelu", *_POWERS),
    ),
    Adapter(model_type="gemma4_text", adds=False, held=("gelu",)),
)


@cache
def _foreign(model_type: str) -> Adapter | None:
    for point in entry_points(group=ENTRY_POINT_GROUP, name=model_type):
        adapter = point.load()
        if not isinstance(adapter, Adapter):
            raise ModelError(
                f"the entry point {point.value!r} for {model_type!r} is no adapter",
                expected="an inscape.model.adapters.Adapter",
            )
        return adapter
    return None


def adapter_for(model_type: str, text_type: str | None = None) -> Adapter:
    """The adapter of the family `model_type`, or of its language model's (`text_type`): another
    package's, else ours, else one that leaves everything to inspection."""
    own = {adapter.model_type: adapter for adapter in _OWN}
    for name in (model_type, text_type):
        if name is not None and (found := _foreign(name) or own.get(name)):
            return found
    return Adapter(model_type=model_type)
