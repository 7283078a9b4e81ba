"""`inscape-microworld table`: the table of claims, each row measured against the known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inscape.cli.common import AtlasFolder, Device, Json, Seed, print_json

if TYPE_CHECKING:
    from inscape.atlas import Atlas
    from inscape_microworld.benchmark import System


def command(
    atlas: AtlasFolder,
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row of the table, repeatable.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure the table of claims on the microworld's atlas (made by `inscape-microworld demo`).

    Figures without a threshold, such as those of the baselines, are reported alongside.
    """
    from inscape.storage import read_json
    from inscape_microworld.benchmark import run_rows

    system = open_system(atlas, device)
    record = atlas.parent / "demo.json"
    demo = read_json(record) if record.is_file() else None
    measured = []
    for found in run_rows(system, row or [], seed=seed, demo=demo):
        measured.append(found.to_json())
        if not json:
            typer.echo(found.text())
    if json:
        print_json(measured)


def open_system(folder: AtlasFolder, device: str | None) -> System:
    """The atlas of the bundled model as what the rows are measured on.

    Raises:
        InputError: it is the atlas of another model, whose truth is not known.
    """
    from inscape.atlas import Atlas
    from inscape.core import InputError
    from inscape_microworld import open_model

    atlas = Atlas.open(folder, device=device)
    if atlas.record["model"]["hash"] != open_model().hash:
        raise InputError(
            f"{folder} is not an atlas of the bundled microworld",
            expected="a model whose truth is known, with the weights of this version",
            next_step="make one with inscape-microworld demo",
        )
    return system_of(atlas)


def system_of(atlas: Atlas) -> System:
    """What is measured: the atlas's model, residual dictionary, index, transcoders and labels."""
    from inscape_microworld.benchmark import System

    return System(
        atlas.model,
        atlas.dictionary(atlas.residual),
        atlas.features(atlas.residual),
        atlas.transcoders(),
        atlas.feature_label,
    )
