"""`inscape label`: names for features, scored on documents that they were not written from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Json, OnlyThese, is_atlas, print_entries, refuse_options


def command(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="ATLAS|INDEX", help="An atlas, or a feature index.")
    ],
    out: Annotated[Path | None, typer.Option(help="Index: the folder of the labels.")] = None,
    dictionary: OnlyThese = None,
    seed: Annotated[int, typer.Option(help="Index: the seed of everything random.")] = 0,
    json: Json = False,
) -> None:
    """Name the features from tokens and contexts, and score the names on other documents."""
    if is_atlas(source):
        refuse_options(context, "Index")
        from inscape.atlas import Atlas, label_atlas
        from inscape.storage import lock

        with lock(source):
            found = label_atlas(Atlas.open(source), dictionary)
    else:
        refuse_options(context, "Atlas")
        from inscape.core import InputError
        from inscape.features import FeatureIndex
        from inscape.labels import label

        index = FeatureIndex.open(source)
        if out is None:
            raise InputError("labelling an index needs --out", expected="a folder for the labels")
        found = [label(index, out, seed=seed)]
    print_entries([{"labels": str(labels.folder), **labels.summary} for labels in found], json)
