"""`inscape demo`: the whole chain on SmolLM2, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Device, Json, note, print_json


def command(
    out: Annotated[Path, typer.Option(help="The folder for the atlas and the page.")] = Path(
        "inscape-demo"
    ),
    device: Device = None,
    json: Json = False,
) -> None:
    """Index, name, diagnose and steer with SmolLM2's neurons, and write a page.

    Run again after a stop, it goes on where it was.
    """
    from inscape.report.demo import WORD, demo

    shown = demo(out, device=device)
    if json:
        print_json({"diagnosis": shown.diagnosis.to_json(), "page": str(shown.page)})
    else:
        typer.echo(f"Neurons found for {WORD!r}:")
        for hit in shown.found:
            typer.echo(f"  {hit.id}  {hit.label or '(no label)'}")
        steered = shown.steered
        typer.echo(f"\n{shown.diagnosis.summary()}\n")
        typer.echo(f"plain    {steered.prompt}{steered.plain}")
        typer.echo(f"steered  {steered.prompt}{steered.steered}")
    note(f"page: {shown.page}")
