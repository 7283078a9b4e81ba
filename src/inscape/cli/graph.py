"""`inscape graph`: a graph file, ours or the published viewer's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A saved trace, such as ATLAS/traces/NAME.json, or a graph of circuit-tracer, "
            "Neuronpedia or inscape in the published viewer's format.",
        ),
    ],
    atlas: Annotated[
        Path | None,
        typer.Option(
            help="The atlas that knows its features; default: that in whose traces it lies."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the graph in the viewer's format here.")
    ] = None,
    viewer: Annotated[
        Path | None,
        typer.Option(help="Also put the graph into this folder for the viewer's local page."),
    ] = None,
    json: common.Json = False,
) -> None:
    """Show a graph that was saved, or that another tool made; and write it for the viewer.

    What another tool's file holds that has no place here is left out, and said. With --json the
    graph is printed in the published viewer format.
    """
    from dataclasses import replace

    from inscape.atlas.container import FILE
    from inscape.attribution import Graph, check_folder, check_out
    from inscape.storage import write_json

    if out is not None:
        check_out(out)
    if viewer is not None:
        check_folder(viewer)
    place = file.resolve().parent
    if atlas is None and place.name == "traces" and (place.parent / FILE).is_file():
        atlas = place.parent
    graph = Graph.open(file)
    if out is not None:
        check_out(out, graph.prompt)
    opened = None if atlas is None else common.open_atlas(atlas)
    if opened is not None:
        _check_model(graph.model, opened.record["model"]["name"])
        given, known = graph.names, opened.feature_label
        # Labels in the file may have been changed by hand: they come first.
        graph = replace(
            graph, names=lambda name, number: given(name, number) or known(name, number)
        )
    common.show_graph(graph, json)
    if out is not None:
        write_json(out, graph.to_viewer())
    if viewer is not None:
        common.write_viewer(graph, viewer, opened)


def _check_model(traced: str, known: str) -> None:
    """InputError where the atlas is of another model than the graph."""
    from inscape.core import InputError

    if Path(traced).name != Path(known).name:
        raise InputError(
            f"the graph is of {traced}, the atlas of {known}",
            expected="an atlas of the graph's model, whose features have other names elsewhere",
        )
