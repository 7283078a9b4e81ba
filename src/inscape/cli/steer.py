"""`inscape steer`: text with features changed, compared with the plain text."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from.")],
    feature: Annotated[
        list[str] | None,
        typer.Option(help="dictionary/index, repeatable; all are changed together."),
    ] = None,
    repair: Annotated[
        str | None,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Instead: a saved repair, or that of a saved diagnosis or result of steering.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="add, clamp, scale or ablate, while the text is written; default: add."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="In units of the feature's largest activation; scale: a factor; default: 1."
        ),
    ] = None,
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
    """Continue PROMPT with features changed, and unchanged for comparison."""
    from inscape.core import InputError

    given = {"--feature": feature, "--mode": mode, "--strength": strength}
    used = [name for name, value in given.items() if value is not None]
    if bool(used) if repair is not None else not feature:
        raise InputError(
            f"{used[0]} with --repair" if repair is not None else "steering without --feature",
            expected="features with their mode and strength, or a repair by itself",
        )
    opened = common.open_atlas(atlas, model, device, bos)
    if repair is None:
        mode, strength = mode or "add", 1.0 if strength is None else strength
        chosen = [opened.feature(name) for name in feature or ()]
        changes: Any = [found.edit(mode, strength) for found in chosen]
    else:
        changes = opened.repair(repair)
        chosen = [opened.feature(f"{one.dictionary}/{one.feature}") for one in changes.changes]
    result = opened.steer(
        common.read_prompt(prompt, chat),
        changes,
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
