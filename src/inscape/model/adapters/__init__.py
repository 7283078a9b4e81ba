"""One structural adapter per model family, ours and those of other packages.

Another package adds a family by an entry point of the group `inscape.adapters`, whose
name is the `model_type` and which loads to an `Adapter`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points

from inscape.core import ModelError
from inscape.model.adapters import (
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_neo,
    gpt_neox,
    llama,
    llava,
    mistral,
    olmo2,
    phi3,
    qwen2,
    qwen3,
)
from inscape.model.adapters.base import Adapter

ENTRY_POINT_GROUP = "inscape.adapters"

_OWN = {
    adapter.model_type: adapter
    for adapter in (
        gemma.ADAPTER,
        gemma2.ADAPTER,
        gemma3.ADAPTER,
        gemma3.WITH_IMAGES,
        gpt2.ADAPTER,
        gpt_neo.ADAPTER,
        gpt_neox.ADAPTER,
        llama.ADAPTER,
        llava.ADAPTER,
        mistral.ADAPTER,
        olmo2.ADAPTER,
        phi3.ADAPTER,
        qwen2.ADAPTER,
        qwen3.ADAPTER,
    )
}


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


def known_families() -> list[str]:
    """Every `model_type` that can be opened, in alphabetical order."""
    return sorted({*_OWN, *entry_points(group=ENTRY_POINT_GROUP).names})


def adapter_for(model_type: str, text_type: str | None = None) -> Adapter:
    """The adapter of the family `model_type`; another package's goes before our own.

    `text_type` is the family of the language model inside, where `model_type` is one of
    image-text models that hold any (llama where it is not said).

    Raises:
        ModelError: the family is unknown; says which are known and how to add it.
    """
    adapter = _foreign(model_type) or _OWN.get(model_type)
    if adapter is None:
        raise ModelError(
            f"model family {model_type!r} is unknown",
            expected=f"one of {', '.join(known_families())}",
            next_step=f"add it by an entry point {model_type!r} of the group "
            f"{ENTRY_POINT_GROUP!r} that loads an inscape.model.adapters.Adapter",
        )
    if adapter.inner is None:
        return adapter
    text = adapter_for(text_type or "llama")
    layers, norm = (path.partition(".")[2] for path in (text.layers, text.final_norm))
    return replace(
        text,
        model_type=adapter.model_type,
        inner=adapter.inner,
        layers=f"{adapter.inner}.{layers}",
        final_norm=f"{adapter.inner}.{norm}",
        head=adapter.head,
    )


__all__ = ["ENTRY_POINT_GROUP", "Adapter", "adapter_for", "known_families"]
