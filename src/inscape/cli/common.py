"""What the verbs share: their common options, printing for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inscape.atlas import Atlas
    from inscape.dictionary import Dictionary

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N; default: the GPU if there is one.")
]
Seed = Annotated[int, typer.Option(help="The seed of everything random.")]
AtlasFolder = Annotated[Path, typer.Argument(metavar="ATLAS", help="The folder of an atlas.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the model's folder brings.")
]


def print_json(value: Any) -> None:
    """Prints `value` as JSON on standard output."""
    from inscape.storage import plain

    typer.echo(json.dumps(plain(value), indent=1, ensure_ascii=False))


def note(message: str) -> None:
    """A remark on standard error, beside the result."""
    typer.echo(message, err=True)


def rows(pairs: Mapping[str, Any]) -> None:
    """Prints named values in two columns; numbers in four digits."""
    width = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        typer.echo(f"{name:<{width}}  {shown}")


def is_atlas(path: str | Path) -> bool:
    """Whether a path is the folder of an atlas."""
    return (Path(path) / "atlas.json").is_file()


def feature_of(atlas: Atlas, text: str) -> tuple[Dictionary, int]:
    """The feature written `dictionary/index`.

    Raises:
        InputError: it is not written so, or there is no such feature.
        StorageError: the atlas has no such dictionary.
    """
    from inscape.core import InputError

    name, _, number = text.rpartition("/")
    if not name or not number.isdecimal():
        raise InputError(
            f"feature {text!r} is not readable",
            expected=f"dictionary/index, for example {atlas.residual}/17",
        )
    dictionary = atlas.dictionary(name)
    if int(number) >= dictionary.d_dict:
        raise InputError(
            f"feature {text} does not exist",
            expected=f"an index below {dictionary.d_dict}",
        )
    return dictionary, int(number)
