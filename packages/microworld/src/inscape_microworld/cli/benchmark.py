"""`inscape-microworld benchmark`: an atlas's dictionaries scored against the microworld's truth."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli.common import AtlasFolder, Device, Json, print_json


def command(
    atlas: AtlasFolder,
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this part, repeatable: concepts, crossform, pictures, wordings, "
            "distractors, selectivity, bridge, reasoning, trace, tens, ones, faults."
        ),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="The seed, repeatable: documents, halves, baselines.")
    ] = None,
    documents: Annotated[
        int, typer.Option(min=400, help="Documents that are looked through for concepts.")
    ] = 40_000,
    device: Device = None,
    json: Json = False,
) -> None:
    """Score the dictionaries of the microworld's atlas (made by `inscape-microworld demo`).

    Concepts, forms of landmarks, held-out wordings, selectivity, steering, reasoning steps, traces
    through them, sums and planted faults, beside neurons, principal components, random directions
    and an untrained dictionary.
    """
    from inscape_microworld.benchmark import Benchmark, run_benchmark
    from inscape_microworld.cli.table import open_system

    system = open_system(atlas, device)
    measured = []
    for number in seed or [0]:
        bench = Benchmark.of(system, seed=number, num_documents=documents)
        for row in run_benchmark(bench, part or []):
            measured.append(row.to_json())
            if not json:
                typer.echo(row.text())
    if json:
        print_json(measured)
