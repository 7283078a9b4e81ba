"""`inscape export`: a dictionary in the format of another library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    dictionary: Annotated[Path, typer.Argument(help="The folder of the dictionary.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    form: Annotated[
        str,
        typer.Option(
            "--format", help="saelens, dictionary_learning, sparsify, gemma_scope or layer_files."
        ),
    ] = "saelens",
    json: common.Json = False,
) -> None:
    """Write a dictionary so that another library opens it.

    What the format cannot hold is refused.
    """
    from inscape.dictionary import Dictionary
    from inscape.exchange import export_dictionary

    export_dictionary(Dictionary.open(dictionary), out, form)
    files = ", ".join(sorted(path.name for path in out.iterdir()))
    common.show([{"folder": str(out), "format": form, "files": files}], json)
