"""`inscape import`: a dictionary of another library, as one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Json, print_entries


def command(
    source: Annotated[
        Path, typer.Argument(help="Its folder or file, or owner/name/folder of the hub.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the imported dictionary.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="saelens, dictionary_learning, sparsify, gemma_scope, openai, llama_scope, "
            "layer_files or clt_files; by what lies there by default.",
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
    ignore: Annotated[
        list[str] | None, typer.Option(help="A setting to pass over, repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Read a dictionary that another library trained.

    What is not known is refused by name, never guessed.
    """
    from inscape.exchange import Asked, import_dictionary
    from inscape.storage import refuse_filled

    refuse_filled(out)
    asked = Asked(site, to, name or out.name, scale, tuple(ignore or ()))
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
