"""`inscape feature`: what is known of one feature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    feature: Annotated[
        str, typer.Argument(metavar="FEATURE", help="dictionary/index, as in resid_post.14/692.")
    ],
    out: Annotated[Path | None, typer.Option(help="Also write it as a page here.")] = None,
    model: common.MovedModel = None,
    json: common.Json = False,
) -> None:
    """Show a feature: its name and how well that holds, examples, effects, features near it."""
    found = common.open_atlas(atlas, model).feature(feature)
    if out is not None:
        from inscape.report import write_feature

        write_feature(found, out)
        common.note(f"page: {out}")
    if json:
        common.print_json(found.to_json())
    else:
        typer.echo(found.summary())
