"""`inscape import`: a dictionary of another library, as one of ours."""

from __future__ import annotations

import pkgutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Atlas, Fit
    from inscape.dictionary import Dictionary
    from inscape.model import Model

# Their names alone: importing the formats would load torch.
_PLACE = Path(__file__).parents[1] / "exchange" / "formats"
FORMATS = sorted(module.name for module in pkgutil.iter_modules([str(_PLACE)]))


def command(
    source: Annotated[
        Path, typer.Argument(help="Its folder or file, or owner/name/folder of the hub.")
    ],
    out: Annotated[Path | None, typer.Option(help="The folder of the imported dictionary.")] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="Instead: the atlas to put it in; with --model a new one is made."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(FORMATS)}; default: by what lies there."),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(help="The site that it reads, where the files do not say; or mlp_in.*."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="The site that it writes, for a transcoder.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Its name; default: that of --out, or of its site.")
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
        typer.Option(help="The model that it is for, to measure on and to fold a norm's gain in."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="The text to measure it on; default: the atlas's.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="A setting that does not change what is computed, repeatable."),
    ] = None,
    bos: common.Bos = None,
    json: common.Json = False,
) -> None:
    """Read a dictionary that another library trained, or one of another atlas.

    A setting that is not known is refused by its name. With a model and a text one line says how
    well the dictionary fits.
    """
    from inscape.activations import corpus_files, on_disk
    from inscape.core import InputError
    from inscape.dictionary import Dictionary, check_name, is_dictionary
    from inscape.exchange import Asked, import_dictionary
    from inscape.storage import refuse_filled

    if (out is None) == (into is None):
        raise InputError("no place for the dictionary, or two", expected="--out or --into")
    if out is not None:
        refuse_filled(out)
        check_name(name or out.name)
    if text is not None:  # what cannot be measured on is refused before anything is written
        text = on_disk(text)
        corpus_files(text)
    with common.open_or_create(into, model, bos=bos) if into else nullcontext() as atlas:
        opened = common.open_model(model, bos=bos) if model and not atlas else None
        if atlas is not None:
            opened = atlas.model
        called = name or (out.name if out else None)
        asked = Asked(site, to, called, scale, tuple(ignore or ()), k, opened)
        if is_dictionary(source) and asked == Asked(name=called, model=opened) and form is None:
            found = Dictionary.open(source)  # one of inscape's own says all of this itself
            found = found.renamed(called) if called else found
        else:
            found = import_dictionary(source, asked, form=form)
        if atlas is not None:
            found = found.renamed(name or found.config.site_name)
            atlas.add(found, name=found.name)
        elif out is not None:
            found.save(out)
    config = found.config
    made = {
        "dictionary": found.name,
        "folder": str(out or (atlas and atlas.place("dictionaries", found.name))),
        "format": found.made_from.get("format", "inscape"),
        "reads": config.site_in,
        "writes": config.site_out,
        "features": config.d_dict,
        "kind": config.kind,
        "k": config.k,
        "skip": config.skip,
        "normalize": config.normalize,
    }
    measured = _measured(atlas, opened, found, text)
    if measured is not None:
        made["fit"] = measured if json else measured.line()
        if measured.warning:
            common.note(f"warning: {measured.warning}")
    common.show([made], json)


def _measured(
    atlas: Atlas | None, model: Model | None, found: Dictionary, text: Path | None
) -> Fit | None:
    """How well the dictionary fits; None where there is no model or no text."""
    from inscape.atlas import fit

    if atlas is not None and (text is not None or atlas.indexed_names):
        return atlas.fit(found.name, text)
    if model is not None and text is not None:
        return fit(model, found, text)
    needed = "--model and --text" if model is None else "--text"
    common.note(f"not measured: FVU, L0 and the loss recovered need {needed}")
    return None
