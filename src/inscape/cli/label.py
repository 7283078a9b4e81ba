"""`inscape label`: names for features, scored on documents that they were not written from."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    dictionary: common.OnlyThese = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default: the atlas's.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Name the features from tokens and contexts, and score the names on other documents."""
    found = common.open_atlas(atlas).label(dictionary, seed=seed)
    common.show([{"labels": str(labels.folder), **labels.summary} for labels in found], json)
