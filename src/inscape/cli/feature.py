"""`inscape feature`: what is known of one feature."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli.common import AtlasFolder, Json, open_atlas, print_json


def command(
    atlas: AtlasFolder,
    feature: Annotated[
        str, typer.Argument(metavar="FEATURE", help="dictionary/index, as in resid_post.14/692.")
    ],
    json: Json = False,
) -> None:
    """Show a feature: label, density, examples, promoted and suppressed tokens."""
    found = open_atlas(atlas).feature(feature)
    if json:
        print_json(found.to_json())
    else:
        typer.echo(found.summary())
