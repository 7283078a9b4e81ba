"""`inscape map`: features as a map, in groups with names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Atlas


def command(
    atlas: common.AtlasFolder,
    dictionary: common.OnlyThese = None,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; default: map.html in the atlas.")
    ] = None,
    families: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="COARSE FINE",
            help="Instead of a map: the features of one dictionary that are split into finer ones "
            "in another (or in the same).",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default: the atlas's.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Lay the features out as a map, group and name them, and place them from concrete to abstract.

    The page is one file that any browser opens; it loads nothing from elsewhere.
    """
    from inscape.report import write_map_page

    opened = common.open_atlas(atlas)
    if families is not None:
        _print_families(opened, *families, json)
        return
    maps = opened.map(dictionary, seed=seed)
    page = write_map_page(opened, out)
    made = [
        {
            "map": str(one.folder),
            "dictionary": one.dictionary,
            "features": one.table.num_rows,
            "layout": one.manifest["layout"],
            "groups": [group.name for group in one.groups if group.level == 1],
            "page": str(page),
        }
        for one in maps
    ]
    if json:
        common.print_json(made)
    else:
        shown = [{**one, "groups": ", ".join(map(str, one["groups"]))} for one in made]
        common.show(shown, json)


def _print_families(atlas: Atlas, coarse: str, fine: str, json: bool) -> None:
    found = atlas.families(coarse, fine)
    if json:
        common.print_json(found)
        return
    rows = [
        (
            f"{one.coarse}/{one.feature}",
            atlas.feature_label(one.coarse, one.feature) or "–",
            f"{one.covered:.0%}",
            ", ".join(
                f"{part.feature} {atlas.feature_label(one.fine, part.feature) or '–'}"
                for part in one.parts
            ),
        )
        for one in found
    ]
    if rows:
        common.print_table(["feature", "label", "covered", f"finer features of {fine}"], rows)
    else:
        typer.echo(f"no feature of {coarse} is split into finer ones of {fine}")
