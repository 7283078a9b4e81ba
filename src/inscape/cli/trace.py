"""`inscape trace`: the attribution graph of the next token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import (
    AtlasFolder,
    Bos,
    Chat,
    Device,
    Json,
    MovedModel,
    note,
    open_atlas,
    print_json,
    read_prompt,
)


def command(
    atlas: AtlasFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from.")],
    target: Annotated[
        str | None, typer.Option(help="Trace this candidate; default: the likeliest tokens.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Trace the logit difference of --target and this.")
    ] = None,
    node_share: Annotated[float, typer.Option(help="Share of influence that nodes keep.")] = 0.8,
    edge_share: Annotated[float, typer.Option(help="Share of influence that edges keep.")] = 0.98,
    max_features: Annotated[
        int | None, typer.Option(help="Most features whose inputs are computed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the graph in the viewer's format here.")
    ] = None,
    chat: Chat = False,
    model: MovedModel = None,
    bos: Bos = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Trace which features, tokens and errors led to the token after PROMPT.

    With --json the graph is printed in the published viewer format.
    """
    from inscape.attribution import MARK
    from inscape.storage import refuse_file, write_json

    if out is not None:
        refuse_file(out, MARK)
    opened = open_atlas(atlas, model, device, bos)
    options = {"target": target, "against": against}
    graph = opened.trace(
        read_prompt(prompt, chat),
        **options,
        node_share=node_share,
        edge_share=edge_share,
        max_features=max_features,
        save=False,
    )
    if json:
        print_json(graph.to_viewer())
        for remark in graph.notes:
            note(f"note: {remark}")
    else:
        typer.echo(graph.summary())
    # What was found is printed by now, whether or not it can be saved.
    saved = opened.save("traces", prompt, graph.to_json(), key=f"{options}{'chat' * chat}")
    note(f"saved: {saved}")
    if out is not None:
        write_json(out, graph.to_viewer())
