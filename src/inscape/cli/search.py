"""`inscape search`: features of an atlas by words."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common

# What `Found.where` is called for people.
_WHERE = {
    "label": "label",
    "peak": "strongest words",
    "window": "examples",
    "promoted": "promoted tokens",
    "prompt": "activations",
}


def command(
    atlas: common.AtlasFolder,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A word or a phrase.")],
    dictionary: common.OnlyThese = None,
    limit: Annotated[int, typer.Option(min=1, help="Most features to list.")] = 20,
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Find the features that TEXT activates as a prompt.")
    ] = False,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Find features whose label, examples or promoted tokens hold TEXT."""
    opened = common.open_atlas(atlas, model, device, bos)
    asked = common.read_prompt(text, chat)
    found = opened.search(asked, names=dictionary, limit=limit, prompt=prompt or chat)
    if json:
        common.print_json([vars(hit) for hit in found])
    elif found:
        where = [", ".join(_WHERE[one] for one in hit.where) for hit in found]
        rows = [
            (hit.id, f"{hit.score:.2f}", words, hit.shown)
            for hit, words in zip(found, where, strict=True)
        ]
        common.print_table(["feature", "score", "found in its", "label"], rows)
    else:
        typer.echo(f"no feature was found for {text!r}")
