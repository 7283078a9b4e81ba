"""`inscape steer`: text with features changed, beside the plain text."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from inscape.cli.common import (
    AtlasFolder,
    Bos,
    Chat,
    Device,
    Json,
    MovedModel,
    Seed,
    note,
    open_atlas,
    print_json,
    read_prompt,
)


def command(
    atlas: AtlasFolder,
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
    seed: Seed = 0,
    chat: Chat = False,
    model: MovedModel = None,
    bos: Bos = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Go on from PROMPT with features changed, beside what the model writes unchanged."""
    from inscape.core import InputError

    if mode not in ("add", "clamp", "scale", "ablate"):
        raise InputError(f"mode {mode!r} is unknown", expected="add, clamp, scale or ablate")
    if not math.isfinite(strength):
        raise InputError(f"strength {strength} is not finite", expected="a number, such as 4")
    opened = open_atlas(atlas, model, device, bos)
    chosen = [opened.feature(name) for name in feature]
    result = opened.steer(
        read_prompt(prompt, chat),
        [found.edit(mode, strength) for found in chosen],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        save=False,
    )
    labels = {found.id: found.label for found in chosen}
    if json:
        shown = {"features": labels, "mode": mode, "strength": strength}
        print_json({**shown, **result.to_json()})
    else:
        for name, label in labels.items():
            typer.echo(f"{mode} {name} [{label or 'no label'}]")
        before = "" if chat else prompt  # an answer stands alone
        typer.echo(f"plain    {_loss(result.plain_loss)}{before}{result.plain}")
        typer.echo(f"steered  {_loss(result.steered_loss)}{before}{result.steered}")
    # What was found is printed by now, whether or not it can be saved.
    key = f"{'chat ' * chat}{result.changes} {max_new_tokens} {temperature} {seed}"
    note(f"saved: {opened.save('steering', prompt, result.to_json(), key=key)}")


def _loss(loss: float | None) -> str:
    """The unmodified model's loss on what was written: how natural it finds the text."""
    return "" if loss is None else f"({loss:.2f} nats per token) "
