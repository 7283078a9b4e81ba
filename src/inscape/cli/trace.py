"""`inscape trace`: the attribution graph of the next token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from.")],
    target: Annotated[
        str | None, typer.Option(help="Trace this candidate; default: the likeliest tokens.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Trace the logit difference of --target and this.")
    ] = None,
    dictionary: common.OnlyThese = None,
    node_share: Annotated[
        float, typer.Option(help="Fraction of influence that the kept nodes carry.")
    ] = 0.8,
    edge_share: Annotated[
        float, typer.Option(help="Fraction of influence that the kept edges carry.")
    ] = 0.98,
    max_features: Annotated[
        int | None, typer.Option(help="Most features whose inputs are computed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the graph in the viewer's format here.")
    ] = None,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Trace which features, tokens and errors led to the token after PROMPT.

    With --json the graph is printed in the published viewer format.
    """
    from inscape.attribution import MARK
    from inscape.storage import refuse_file, write_json

    if out is not None:
        refuse_file(out, MARK)
    opened = common.open_atlas(atlas, model, device, bos)
    graph = opened.trace(
        common.read_prompt(prompt, chat),
        target=target,
        against=against,
        names=dictionary,
        node_share=node_share,
        edge_share=edge_share,
        max_features=max_features,
        save=False,
    )
    if json:
        common.print_json(graph.to_viewer())
        for remark in graph.notes:
            common.note(f"note: {remark}")
    else:
        typer.echo(graph.summary())
    common.save(opened, graph)
    if out is not None:
        write_json(out, graph.to_viewer())
