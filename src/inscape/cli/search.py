"""`inscape search`: features of an atlas by words."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli.common import (
    AtlasFolder,
    Chat,
    Json,
    OnlyThese,
    open_atlas,
    print_json,
    print_table,
    read_prompt,
)


def command(
    atlas: AtlasFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A word or a phrase.")],
    dictionary: OnlyThese = None,
    limit: Annotated[int, typer.Option(min=1, help="Most features to list.")] = 20,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Find the features that TEXT activates as a prompt.")
    ] = False,
    chat: Chat = False,
    json: Json = False,
) -> None:
    """Find features whose label, examples or promoted tokens hold TEXT."""
    asked = read_prompt(text, chat)
    found = open_atlas(atlas).search(asked, names=dictionary, limit=limit, prompt=prompt or chat)
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
