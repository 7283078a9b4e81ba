"""`inscape trajectory`: an answer followed token by token."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    source: common.AtlasOrModel,
    prompt: common.PromptText,
    answer: Annotated[
        str | None, typer.Option(help="A given answer or chain of reasoning; default: its own.")
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(help="Most tokens of an answer that the model writes itself; default: 40."),
    ] = None,
    nodes: Annotated[int, typer.Option(help="Features and neurons for each token.")] = 50,
    candidate: Annotated[
        list[str] | None,
        typer.Option(help="Two final answers, compared after every token; give it twice."),
    ] = None,
    cue: Annotated[
        str | None,
        typer.Option(help="What is put before the candidates, such as ' The answer is'."),
    ] = None,
    memory: common.TraceMemory = None,
    dictionary: common.OnlyThese = None,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Follow an answer token by token: what each token rests on, and where it was decided.

    Each token is traced to the tokens before it and to the features and neurons that made it, with
    its margin over the likeliest other token, and the layer from which on it is ahead.
    """
    from inscape.attribution import trajectory

    given = common.read_prompt(prompt, chat)
    traced = common.open_traced(source, dictionary, model, device, bos)
    found = trajectory(
        traced.model,
        given,
        traced.dictionaries,
        answer=answer,
        max_new_tokens=max_new_tokens,
        nodes=nodes,
        candidates=candidate or (),
        cue=cue or "",
        memory=memory,
        names=traced.names,
    )
    traced.show(found, json)
