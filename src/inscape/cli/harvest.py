"""`inscape harvest`: a model's activations over a text, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    model: common.ModelName,
    text: common.Text,
    out: Annotated[Path, typer.Option(help="The folder of the store.")],
    site: Annotated[
        list[str] | None,
        typer.Option(
            help="Where to read, repeatable; default: the middle of the residual stream, and the "
            "input and output of every MLP."
        ),
    ] = None,
    context: common.RowTokens = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop after this many tokens.")] = None,
    bos: common.Bos = None,
    device: common.Device = None,
    trust_remote_code: common.TrustCode = False,
    json: common.Json = False,
) -> None:
    """Store the activations of MODEL over a text; run again after a stop, it resumes."""
    from inscape.activations import harvest
    from inscape.atlas import default_sites

    opened = common.open_model(model, device, bos, trust_remote_code)
    sites = site or default_sites(opened)
    store = harvest(opened, text, sites, out, context=context, max_tokens=max_tokens)
    made = {
        "store": str(out),
        "tokens": store.num_tokens,
        "documents": store.manifest["num_documents"],
        "beginning_of_text_tokens_left_out": store.manifest["num_bos"],
        "sink_tokens_left_out": store.manifest["num_sinks"],
        "sites": list(store.sites),
    }
    common.show(made, json)
