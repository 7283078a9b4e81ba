"""`inscape label`: names for features, scored on documents that they were not written from."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli.common import AtlasFolder, Json, OnlyThese, open_atlas, print_entries


def command(
    atlas: AtlasFolder,
    dictionary: OnlyThese = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default: the atlas's.")
    ] = None,
    json: Json = False,
) -> None:
    """Name the features from tokens and contexts, and score the names on other documents."""
    found = open_atlas(atlas).label(dictionary, seed=seed)
    print_entries([{"labels": str(labels.folder), **labels.summary} for labels in found], json)
