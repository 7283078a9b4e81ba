"""`inscape concepts`: a prompt token by token."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to read.")],
    dictionary: common.OnlyThese = None,
    per_token: Annotated[int, typer.Option(min=1, help="Features listed for each token.")] = 3,
    num_removed: Annotated[
        int,
        typer.Option(
            min=0, help="Features that are removed one by one, to see what the answer rests on."
        ),
    ] = 6,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Show the concepts that are active on each token of PROMPT, and what the answer rests on.

    Strongest and rarest first, each with its activation as a share of its largest.
    """
    opened = common.open_atlas(atlas, model, device, bos)
    found = opened.concepts(
        common.read_prompt(prompt, chat), names=dictionary, num_removed=num_removed, save=False
    )
    if json:
        common.print_json(found.to_json())
    else:
        typer.echo(found.summary(per_token))
    common.save(opened, found)
