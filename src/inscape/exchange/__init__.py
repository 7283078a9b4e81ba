"""Dictionaries of other libraries: read into ours, and ours written for them; one format a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inscape.core import InputError
from inscape.dictionary import Dictionary, local
from inscape.exchange.clt_files import CLTFiles
from inscape.exchange.dictionary_learning import DictionaryLearning
from inscape.exchange.format import Asked, Format
from inscape.exchange.gemma_scope import GemmaScope
from inscape.exchange.layer_files import LayerFiles
from inscape.exchange.llama_scope import LlamaScope
from inscape.exchange.openai_format import OpenAI
from inscape.exchange.saelens import SAELens
from inscape.exchange.sparsify import Sparsify
from inscape.storage import atomic_folder

FORMATS: Mapping[str, Format] = {
    known.name: known
    for known in (
        SAELens(),
        DictionaryLearning(),
        Sparsify(),
        GemmaScope(),
        OpenAI(),
        LlamaScope(),
        LayerFiles(),
        CLTFiles(),
    )
}


def import_dictionary(
    source: str | Path,
    asked: Asked | None = None,
    *,
    form: str | None = None,
    revision: str | None = None,
) -> Dictionary:
    """A dictionary of another library.

    Args:
        source: its folder or file; or `owner/name/folder/within` of a repository on the Hugging
            Face hub, of that revision. asked: what the files leave out. form: the format's name; by
            what lies there if None.

    Raises:
        InputError: no format fits, or it refuses a setting; a site is not told.
        StorageError: a file is missing or corrupt, or the repository is not to be had.
    """
    source = local(source, revision=revision, there=_recognised)
    if not source.exists():
        raise InputError(f"{source} does not exist", expected="a folder or file of a dictionary")
    return chosen(form, source).read(source, asked or Asked())


def _recognised(source: Path) -> bool:
    return any(known.recognises(source) for known in FORMATS.values())


def export_dictionary(dictionary: Dictionary, folder: str | Path, form: str) -> None:
    """Write a dictionary for another library; the folder appears as a whole.

    Raises:
        InputError: there is no such format, it cannot hold this dictionary, or the folder holds
            something already.
        StorageError: the disk is full or may not be written to.
    """
    known = chosen(form)
    if dictionary.config.several:
        raise InputError(
            f"{dictionary.name} reads {len(dictionary.config.sites_in)} sites",
            expected="a dictionary of one site: those of several are read, not written",
        )
    with atomic_folder(Path(folder)) as new:
        known.write(dictionary, new)


def chosen(form: str | None, source: Path | None = None) -> Format:
    """The format of that name, or the one that recognises the source.

    Raises:
        InputError: there is none.
    """
    if form is not None:
        if form not in FORMATS:
            raise InputError(f"unknown format {form!r}", expected="one of " + ", ".join(FORMATS))
        return FORMATS[form]
    fitting = [known for known in FORMATS.values() if source and known.recognises(source)]
    if not fitting:
        layers = sorted(source.glob("layer_*.safetensors")) if source else []
        raise InputError(
            f"{source} is of no known format",
            expected="; ".join(known.about for known in FORMATS.values()),
            next_step=f"import its {len(layers)} files one by one" if layers else None,
        )
    return fitting[0]


__all__ = ["FORMATS", "Asked", "Format", "export_dictionary", "import_dictionary"]
