"""`inscape search`: features of an atlas by words."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli.common import AtlasFolder, Json, OnlyThese, open_atlas, print_json, print_table


def command(
    atlas: AtlasFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A word or a phrase.")],
    dictionary: OnlyThese = None,
    limit: Annotated[int, typer.Option(min=1, help="Most features to list.")] = 20,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Find the features that TEXT activates as a prompt.")
    ] = False,
    json: Json = False,
) -> None:
    """Find features whose label, examples or promoted tokens hold TEXT."""
    found = open_atlas(atlas).search(text, names=dictionary, limit=limit, prompt=prompt)
    if json:
        print_json([vars(hit) for hit in found])
    elif found:
        lines = [
            (hit.id, f"{hit.score:.2f}", ", ".join(hit.where), hit.label or "(no label)")
            for hit in found
        ]
        print_table(["feature", "score", "found in", "label"], lines)
    else:
        typer.echo(f"no feature was found for {text!r}")
