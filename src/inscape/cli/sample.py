"""`inscape sample`: text that a model writes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inscape.cli import common


def command(
    model: common.ModelName,
    openings: Annotated[
        Path,
        typer.Option(
            help="What to continue: texts, or chat messages to answer; a .txt, .jsonl(.gz) or "
            ".parquet file, or a folder of them."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the text, .jsonl files.")],
    new_tokens: Annotated[
        int, typer.Option(help="Tokens of each document at most, the opening not counted.")
    ] = 96,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Tokens that each step chooses from.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Documents at a time.")] = 64,
    seed: common.Seed = 0,
    bos: common.Bos = None,
    device: common.Device = None,
    trust_remote_code: common.TrustCode = False,
    json: common.Json = False,
) -> None:
    """Have MODEL write a corpus of its own; run again after a stop, it goes on.

    The folder serves as --text of the other commands.
    """
    from inscape.activations import documents, sample_text

    opened = common.open_model(model, device, bos, trust_remote_code)
    given = list(documents(openings))
    sample_text(
        opened,
        given,
        out,
        new_tokens=new_tokens,
        temperature=temperature,
        top_k=top_k,
        batch_size=batch_size,
        seed=seed,
    )
    common.show({"text": str(out), "documents": len(given)}, json)
