"""`inscape demo`: what a real model thinks, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    out: Annotated[Path, typer.Option(help="The folder for the page.")] = Path("inscape-demo"),
    atlas: Annotated[
        Path | None,
        typer.Option(help="An atlas of SmolLM2; default: the one that comes with the repository."),
    ] = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Show what SmolLM2 has in mind: the concepts of prompts token by token, and search by name.

    Writes a page; the atlas is left as it is. Without the repository's atlas one is made of the
    model's neurons, which takes some minutes; run again after a stop, it goes on where it was.
    """
    from inscape.report.demo import demo
    from inscape.report.demo_page import write_demo

    made = demo(out, atlas=atlas, device=device)
    write_demo(made)
    if json:
        common.print_json(
            {
                "prompts": [one.concepts.to_json() for one in made.asked],
                "diagnosis": made.diagnosis.to_json(),
                "searches": {
                    one.topic.query: [
                        {"id": t.found.id, "label": t.found.label, "about": t.about, "near": t.near}
                        for t in one.tried
                    ]
                    for one in made.searches
                },
                "page": str(made.page),
            }
        )
        return
    typer.echo(f"{made.asked[0].concepts.summary()}\n\n{made.diagnosis.summary()}\n")
    for searched in made.searches:
        best = searched.best
        if best is not None:
            typer.echo(
                f"{searched.topic.query!r}: {best.found.shown} [{best.found.id}], active in "
                f"{best.about} of {len(searched.topic.about)} sentences about it, "
                f"{best.near} of {len(searched.topic.near)} about {searched.topic.apart_from}"
            )
    common.note(f"page: {made.page}")
