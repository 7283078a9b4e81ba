"""`inscape demo`: the whole chain on SmolLM2, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    out: Annotated[Path, typer.Option(help="The folder for the atlas and the page.")] = Path(
        "inscape-demo"
    ),
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Index, name, diagnose and steer with SmolLM2's neurons, and write a page.

    Run again after a stop, it goes on where it was.
    """
    from inscape.report.demo import WORD, demo

    made = demo(out, device=device)
    if json:
        common.print_json({"diagnosis": made.diagnosis.to_json(), "page": str(made.page)})
    else:
        typer.echo(f"Neurons found for {WORD!r}:")
        for hit in made.found:
            typer.echo(f"  {hit.id}  {hit.shown}")
        typer.echo(f"\n{made.diagnosis.summary()}\n\nWhat it writes with and without the repair:")
        typer.echo(made.steered.summary())
    common.note(f"page: {made.page}")
