"""`inscape-microworld demo`: the whole chain on the bundled microworld."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Device, Json, Seed, note, print_json


def command(
    out: Annotated[Path, typer.Option(help="The folder for the atlas and the report.")] = Path(
        "inscape-demo"
    ),
    seed: Seed = 0,
    device: Device = None,
    json: Json = False,
) -> None:
    """Learn, name, trace, diagnose and steer on the bundled microworld; write a report.

    Run again after a stop, it goes on where it was.
    """
    from inscape_microworld.demo import demo
    from inscape_microworld.report import report_text

    report = demo(out, seed=seed, device=device)
    if json:
        print_json(report.to_json())
    else:
        typer.echo(report_text(report))
    note(f"report: {out / 'report.html'}")
