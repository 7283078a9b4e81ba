"""`inscape exchange`: which neurons turn an answer into another prompt's."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    source: common.AtlasOrModel,
    prompt: common.PromptText,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="A prompt with another answer.")],
    neurons: Annotated[int, typer.Option(help="How many are exchanged.")] = 100,
    controls: Annotated[int, typer.Option(help="Random sets of as many, beside them.")] = 20,
    chat: common.Chat = False,
    seed: common.Seed = 0,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Exchange neurons between two prompts: which of them turn the answer?

    The neurons that do most are set to the values that they have in OTHER, in the model as it is;
    beside them random ones whose values change as much.
    """
    from inscape.attribution import exchange

    pair = common.read_prompt(prompt, chat), common.read_prompt(other, chat)
    traced = common.open_traced(source, (), model, device, bos)
    found = exchange(
        traced.model, *pair, neurons=neurons, controls=controls, seed=seed, names=traced.names
    )
    traced.show(found, json)
