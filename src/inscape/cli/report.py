"""`inscape report`: one page of all that an atlas holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import AtlasFolder


def command(
    atlas: AtlasFolder,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; default: report.html in the atlas.")
    ] = None,
) -> None:
    """Write a page of the atlas: its dictionaries and features, traces, diagnoses, steering.

    The page is one file that any browser opens; it loads nothing from elsewhere.
    """
    from inscape.atlas import Atlas
    from inscape.report import write_atlas_report

    typer.echo(write_atlas_report(Atlas.open(atlas), out))
