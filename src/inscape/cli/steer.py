"""`inscape steer`: text with features changed, beside the plain text."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from inscape.cli.common import AtlasFolder, Device, Json, Seed, feature_of, print_json


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
    device: Device = None,
    json: Json = False,
) -> None:
    """Go on from PROMPT with features changed, beside what the model writes unchanged."""
    from inscape.atlas import Atlas
    from inscape.core import InputError
    from inscape.intervention import FeatureEdit, steer

    if mode not in ("add", "clamp", "scale", "ablate"):
        raise InputError(f"mode {mode!r} is unknown", expected="add, clamp, scale or ablate")
    if not math.isfinite(strength):
        raise InputError(f"strength {strength} is not finite", expected="a number, such as 4")
    opened = Atlas.open(atlas, device=device)
    model = opened.model
    changes = []
    for name in feature:
        dictionary, number = feature_of(opened, name)
        unit = float(opened.index(dictionary.name).max[number])
        changes.append(FeatureEdit(dictionary, number, mode, strength, unit=unit))  # type: ignore[arg-type]
    result = steer(model, prompt, changes, max_new_tokens, temperature=temperature, seed=seed)
    labels = {
        f"{change.dictionary.name}/{change.feature}": opened.feature_label(
            change.dictionary.name, change.feature
        )
        for change in changes
    }
    if json:
        shown = {"features": labels, "mode": mode, "strength": strength}
        print_json({**shown, **result.to_json()})
        return
    for name, label in labels.items():
        typer.echo(f"{mode} {name} [{label or 'no label'}]")
    typer.echo(f"plain    {_loss(result.plain_loss)}{prompt}{result.plain}")
    typer.echo(f"steered  {_loss(result.steered_loss)}{prompt}{result.steered}")


def _loss(loss: float | None) -> str:
    """The unmodified model's loss on what was written: how natural it finds the text."""
    return "" if loss is None else f"({loss:.2f} nats per token) "
