"""`inscape trace`: the attribution graph of the next token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli import common


def command(
    source: common.AtlasOrModel,
    prompt: common.PromptText,
    target: Annotated[
        str | None, typer.Option(help="Trace this candidate; default: the likeliest tokens.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Trace the logit difference of --target and this.")
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            metavar="PROMPT",
            help="A prompt with another answer; the strongest features, groups and edges are "
            "exchanged with it, and restored there.",
        ),
    ] = None,
    memory: common.TraceMemory = None,
    dictionary: common.OnlyThese = None,
    node_share: Annotated[
        float, typer.Option(help="Fraction of influence that the kept nodes carry.")
    ] = 0.8,
    edge_share: Annotated[
        float, typer.Option(help="Fraction of influence that the kept edges carry.")
    ] = 0.98,
    max_features: Annotated[
        int | None, typer.Option(help="Most features and neurons that are nodes.")
    ] = None,
    heads: Annotated[
        int, typer.Option(help="Of how many edges to say which attention heads carry them.")
    ] = 0,
    head_nodes: Annotated[
        bool,
        typer.Option(
            "--head-nodes", help="Make what attention heads give nodes too; not with --heads."
        ),
    ] = False,
    verified: Annotated[
        int,
        typer.Option(help="How many features to remove from the model, predicted beside measured."),
    ] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Also write the graph in the viewer's format here.")
    ] = None,
    viewer: Annotated[
        Path | None,
        typer.Option(help="Also put the graph into this folder for the viewer's local page."),
    ] = None,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Trace which features, neurons and tokens led to the token after PROMPT.

    Of an atlas its transcoders and the dictionaries of its residual stream are read; layers without
    a transcoder, and models without an atlas, by their neurons. With --json the graph is printed in
    the published viewer format.
    """
    from inscape.attribution import check_folder, check_out, trace
    from inscape.storage import write_json

    if out is not None:
        check_out(out)
    if viewer is not None:
        check_folder(viewer)
    options: dict[str, Any] = {
        "target": target,
        "against": against,
        "node_share": node_share,
        "edge_share": edge_share,
        "max_features": max_features,
        "heads": heads,
        "head_nodes": head_nodes,
        "verified": verified,
        "memory": memory,
        "other": None if other is None else common.read_prompt(other, chat),
    }
    given = common.read_prompt(prompt, chat)
    traced = common.open_traced(source, dictionary, model, device, bos)
    if out is not None:
        check_out(out, traced.model.prompt(given).text)
    graph = trace(traced.model, given, traced.dictionaries, names=traced.names, **options)
    common.show_graph(graph, json)
    traced.save(graph)
    if out is not None:
        write_json(out, graph.to_viewer())
    if viewer is not None:
        common.write_viewer(graph, viewer, traced.atlas)
