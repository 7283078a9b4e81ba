"""`inscape feature`: what is known of one feature."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    feature: Annotated[
        str, typer.Argument(metavar="FEATURE", help="dictionary/index, as in resid_post.14/692.")
    ],
    model: common.MovedModel = None,
    json: common.Json = False,
) -> None:
    """Show a feature: label, density, examples, promoted and suppressed tokens."""
    found = common.open_atlas(atlas, model).feature(feature)
    if json:
        common.print_json(found.to_json())
    else:
        typer.echo(found.summary())
