"""`inscape import`: a dictionary of another library, as one of ours."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Annotated

import typer

from inscape.cli.common import Bos, Json, note, open_or_create, print_entries

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
        typer.Option(
            help="Instead: the atlas to put it in; made, with --model, where there is none."
        ),
    ] = None,
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
        str | None,
        typer.Option(help="Its name, as in name/feature; default: that of --out, or of its site."),
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
    bos: Bos = None,
    json: Json = False,
) -> None:
    """Read a dictionary that another library trained.

    A setting that is not known is refused by its name. With a model and a text one line says how
    well the dictionary fits.
    """
    from inscape.activations import corpus_files, on_disk
    from inscape.atlas import fit
    from inscape.core import InputError
    from inscape.dictionary import check_name
    from inscape.exchange import Asked, import_dictionary
    from inscape.model import Model
    from inscape.storage import refuse_filled

    if (out is None) == (into is None):
        raise InputError("no place for the dictionary, or two", expected="--out or --into")
    if out is not None:
        refuse_filled(out)
        check_name(name or out.name)
    if text is not None:  # what cannot be measured on is refused before anything is written
        text = on_disk(text)
        corpus_files(text)
    atlas = open_or_create(into, model, bos=bos) if into is not None else None
    if atlas is not None:
        opened: Model | None = atlas.model
    else:
        opened = Model.open(model, bos=bos or "auto") if model else None
    called = name or (out.name if out else None)
    asked = Asked(site, to, called, scale, tuple(ignore or ()), k, opened)
    found = import_dictionary(source, asked, form=form)
    if atlas is not None:
        atlas.add(found, name=name)
        found = atlas.dictionary(name or found.config.site_name)
    elif out is not None:
        found.save(out)
    config = found.config
    shown = {
        "dictionary": found.name,
        "folder": str(out or (atlas and atlas.place("dictionaries", found.name))),
        "format": found.made_from["format"],
        "reads": config.site_in,
        "writes": config.site_out,
        "features": config.d_dict,
        "kind": config.kind,
        "k": config.k,
        "skip": config.skip,
        "normalize": config.normalize,
    }
    if opened is None or (
        text is None and not (atlas and any(map(atlas.is_indexed, atlas.dictionary_names)))
    ):
        needed = "--text" if opened else "--model and --text"
        note(f"not measured: FVU, L0 and the loss recovered need {needed}")
    else:
        measured = atlas.fit(found.name, text) if atlas else fit(opened, found, text or [])
        shown["fit"] = measured if json else measured.line()
        if measured.warning:
            note(f"warning: {measured.warning}")
    print_entries([shown], json)
