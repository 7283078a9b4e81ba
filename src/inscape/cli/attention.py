"""`inscape attention`: why a head looks where it does."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    source: common.AtlasOrModel,
    prompt: common.PromptText,
    layer: Annotated[int, typer.Option(help="The layer of the head.")],
    head: Annotated[int, typer.Option(help="The head; `inscape trace --heads` names the largest.")],
    query: Annotated[
        int, typer.Option(help="The position that looks; negative ones count from the end.")
    ] = -1,
    key: Annotated[
        int | None, typer.Option(help="The position looked at; default: where the head looks most.")
    ] = None,
    against: Annotated[
        int | None, typer.Option(help="Explain the score of the key less that of this position.")
    ] = None,
    max_features: Annotated[
        int, typer.Option(help="Most features and neurons that are nodes.")
    ] = 300,
    dictionary: common.OnlyThese = None,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Explain why an attention head looks where it does.

    The score of a query and a key position is a sum over pairs of nodes, one of each side: the
    largest are listed, and what each node gives at either side.
    """
    from inscape.attribution import explain_attention

    given = common.read_prompt(prompt, chat)
    traced = common.open_traced(source, dictionary, model, device, bos)
    found = explain_attention(
        traced.model,
        given,
        traced.dictionaries,
        layer=layer,
        head=head,
        query=query,
        key=key,
        against=against,
        max_features=max_features,
        names=traced.names,
    )
    traced.show(found, json)
