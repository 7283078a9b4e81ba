"""The built-in variants of dictionaries, one per file; packages add others by entry point."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from inscape.core import InputError
from inscape.training.variants.base import Options, Penalty, Reconstruction, Rows, Selected, Variant
from inscape.training.variants.batch_topk import BatchTopK
from inscape.training.variants.gated import Gated
from inscape.training.variants.jumprelu import JumpReLU
from inscape.training.variants.matryoshka import Matryoshka
from inscape.training.variants.relu import ReLU
from inscape.training.variants.topk import TopK

GROUP = "inscape.variants"
BUILT_IN: tuple[type[Variant], ...] = (TopK, BatchTopK, Matryoshka, JumpReLU, ReLU, Gated)


@cache
def known() -> dict[str, type[Variant]]:
    """All variants by name; those of other packages cannot replace built-in ones."""
    found: dict[str, type[Variant]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = point.load()
    return {**found, **{variant.name: variant for variant in BUILT_IN}}


def variant_class(name: str) -> type[Variant]:
    """The variant of that name.

    Raises:
        InputError: there is none.
    """
    if name not in known():
        raise InputError(f"unknown variant {name!r}", expected="one of " + ", ".join(known()))
    return known()[name]


__all__ = [
    "Options",
    "Penalty",
    "Reconstruction",
    "Rows",
    "Selected",
    "Variant",
    "known",
    "variant_class",
]
