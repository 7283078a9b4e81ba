"""`inscape harvest`: a model's activations over a text, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import (
    Bos,
    Device,
    Json,
    ModelName,
    RowTokens,
    Text,
    TrustCode,
    print_json,
    rows,
)


def command(
    model: ModelName,
    text: Text,
    out: Annotated[Path, typer.Option(help="The folder of the store.")],
    site: Annotated[
        list[str] | None,
        typer.Option(help="Where to read, repeatable; default: middle residual and every MLP."),
    ] = None,
    context: RowTokens = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after this many tokens.")] = None,
    bos: Bos = None,
    device: Device = None,
    trust_remote_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Store the activations of MODEL over a text; run again after a stop, it resumes."""
    from inscape.activations import harvest
    from inscape.atlas import default_sites
    from inscape.model import Model

    opened = Model.open(
        model, device=device, bos=bos or "auto", trust_remote_code=trust_remote_code
    )
    sites = site or default_sites(opened)
    store = harvest(opened, text, sites, out, context=context, max_tokens=max_tokens)
    manifest = store.manifest
    result = {
        "store": str(out),
        "tokens": store.num_tokens,
        "documents": manifest["num_documents"],
        "beginning_of_text_tokens_left_out": manifest["num_bos"],
        "sink_tokens_left_out": manifest["num_sinks"],
        "sites": list(store.sites),
    }
    if json:
        print_json(result)
    else:
        rows(result)
