"""`inscape steer`: text with features changed, beside the plain text."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from.")],
    feature: Annotated[
        list[str], typer.Option(help="dictionary/index, repeatable; all are changed together.")
    ],
    mode: Annotated[
        str, typer.Option(help="add, clamp, scale or ablate, while the text is written.")
    ] = "add",
    strength: Annotated[
        float, typer.Option(help="In units of the feature's largest activation; scale: a factor.")
    ] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write.")] = 40,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")
    ] = 0.0,
    seed: common.Seed = 0,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Go on from PROMPT with features changed, beside what the model writes unchanged."""
    opened = common.open_atlas(atlas, model, device, bos)
    chosen = [opened.feature(name) for name in feature]
    result = opened.steer(
        common.read_prompt(prompt, chat),
        [found.edit(mode, strength) for found in chosen],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        save=False,
    )
    labels = {found.id: found.label for found in chosen}
    if json:
        asked = {"features": labels, "mode": mode, "strength": strength}
        common.print_json({**asked, **result.to_json()})
    else:
        for found in chosen:
            typer.echo(f"{found.id}  {found.shown}")
        typer.echo(result.summary())
    common.save(opened, result)
