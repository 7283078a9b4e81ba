"""`inscape import`: a dictionary of another library, as one of ours."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Json, print_entries

# Their names alone: importing the formats would load torch.
_PLACE = Path(__file__).parents[1] / "exchange" / "formats"
FORMATS = sorted(module.name for module in pkgutil.iter_modules([str(_PLACE)]))


def command(
    source: Annotated[
        Path, typer.Argument(help="Its folder or file, or owner/name/folder of the hub.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the imported dictionary.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help=f"One of {', '.join(FORMATS)}; by what lies there by default."
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="The site that it reads, where the files do not say it; mlp_in.* of every layer."
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="The site that it writes, for a transcoder.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name, as in name/feature; default: that of --out.")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="What activations are multiplied by, where the files leave it out."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(min=1, help="Active features of a token, where the files leave it out."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model that it is for, where the gain of a norm is to be folded in."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="A setting that does not change what is computed, repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Read a dictionary that another library trained.

    A setting that is not known is refused by its name.
    """
    from inscape.exchange import Asked, import_dictionary
    from inscape.storage import refuse_filled

    refuse_filled(out)
    opened = None
    if model is not None:
        from inscape.model import Model

        opened = Model.open(model, device="cpu")
    asked = Asked(site, to, name or out.name, scale, tuple(ignore or ()), k, opened)
    found = import_dictionary(source, asked, form=form)
    found.save(out)
    config = found.config
    shown = {
        "dictionary": found.name,
        "folder": str(out),
        "format": found.made_from["format"],
        "reads": config.site_in,
        "writes": config.site_out,
        "features": config.d_dict,
        "kind": config.kind,
        "k": config.k,
        "skip": config.skip,
        "normalize": config.normalize,
    }
    print_entries([shown], json)
