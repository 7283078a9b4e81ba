"""`inscape label`: names for features, scored on documents that they were not written from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Json, Seed, is_atlas, print_json, rows


def command(
    source: Annotated[
        Path, typer.Argument(metavar="ATLAS|INDEX", help="An atlas, or a feature index.")
    ],
    out: Annotated[Path | None, typer.Option(help="Index: the folder of the labels.")] = None,
    dictionary: Annotated[
        list[str] | None, typer.Option(help="Atlas: only this dictionary, repeatable.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Name the features from tokens and contexts, and score the names on other documents."""
    if is_atlas(source):
        from inscape.atlas import Atlas, label_atlas
        from inscape.storage import lock

        with lock(source):
            found = label_atlas(Atlas.open(source), dictionary)
    else:
        from inscape.core import InputError
        from inscape.features import FeatureIndex
        from inscape.labels import label

        index = FeatureIndex.open(source)
        if out is None:
            raise InputError("labelling an index needs --out", expected="a folder for the labels")
        found = [label(index, out, seed=seed)]
    result = [{"labels": str(labels.folder), **labels.summary} for labels in found]
    if json:
        print_json(result)
        return
    for entry in result:
        rows(entry)
