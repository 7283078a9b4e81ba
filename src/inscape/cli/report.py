"""`inscape report`: one page of all that an atlas holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; default: report.html in the atlas.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Write a page of the atlas: its dictionaries and features, traces, diagnoses, steering.

    The page is one file that any browser opens; it loads nothing from elsewhere.
    """
    from inscape.report import write_atlas_report

    path = write_atlas_report(common.open_atlas(atlas), out)
    if json:
        common.print_json({"page": str(path)})
    else:
        typer.echo(path)
