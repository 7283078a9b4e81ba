"""The formats there are, and which of them a file is of.

A format is a file of `formats/` with one subclass of `Format`: nothing else knows of it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from safetensors import SafetensorError

from inscape.core import InputError, StorageError
from inscape.dictionary import Dictionary, local
from inscape.exchange import formats
from inscape.exchange.format import Asked, Format
from inscape.storage import atomic_folder

for _module in pkgutil.iter_modules(formats.__path__):
    import_module(f"{formats.__name__}.{_module.name}")
FORMATS = {one.name: one() for one in sorted(Format.__subclasses__(), key=lambda one: one.name)}


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
        InputError: no format fits, or it refuses a setting; a site or k is missing.
        StorageError: a file is missing or corrupt, or the repository is not to be had.
    """
    return read_foreign(local(source, revision=revision, there=recognised), asked, form)


def read_foreign(source: Path, asked: Asked | None = None, form: str | None = None) -> Dictionary:
    """`import_dictionary` of a file or folder on this machine."""
    if not source.exists():
        raise StorageError(f"{source} does not exist", expected="a folder or file of a dictionary")
    try:
        return chosen(form, source).read(source, asked or Asked())
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{source} is not as its format should be ({type(error).__name__}: {error})",
            expected="files as the library writes them",
            next_step="download it again, or name another --format",
        ) from error


def recognised(source: Path) -> bool:
    """Whether a file or folder is of a known format."""
    return any(known.recognises(source) for known in FORMATS.values())


def export_dictionary(dictionary: Dictionary, folder: str | Path, form: str) -> None:
    """Write a dictionary for another library; the folder appears as a whole.

    Raises:
        InputError: there is no such format, it cannot hold this dictionary, or the folder holds
            something already.
        StorageError: the disk is full or may not be written to.
    """
    written = [name for name, one in FORMATS.items() if type(one).write is not Format.write]
    if form not in written:
        what = f"{form} is read, not written" if form in FORMATS else f"unknown format {form!r}"
        raise InputError(what, expected="one of " + ", ".join(written))
    known, config = FORMATS[form], dictionary.config
    plain = config.kind != "neurons" and config.scope == "token"
    if config.several or config.signed or config.glu or config.weighted or not plain:
        raise InputError(
            f"{dictionary.name} is of a kind that {form} has no place for",
            expected="features of one site, chosen token by token: neurons, dictionaries of "
            "several sites and signed or gated transcoders are read, not written",
        )
    if config.normalize != "none" and not known.normalizes:
        raise InputError(
            f"{dictionary.name} normalises each token ({config.normalize})",
            expected=f"a dictionary that reads activations as they are: {form} holds no other",
        )
    with atomic_folder(Path(folder)) as new:
        try:
            known.write(dictionary, new)
        except (SafetensorError, RuntimeError, OSError) as error:  # torch and safetensors have own
            reason = " ".join(str(error).split())
            raise StorageError(
                f"{folder} cannot be written ({reason})", next_step="make room, or choose another"
            ) from error


def chosen(form: str | None, source: Path | None = None) -> Format:
    """The format of that name, or the one that recognises the source.

    Raises:
        InputError: there is none, or two recognise it.
    """
    if form is not None:
        if form not in FORMATS:
            raise InputError(f"unknown format {form!r}", expected="one of " + ", ".join(FORMATS))
        return FORMATS[form]
    fitting = [known for known in FORMATS.values() if source and known.recognises(source)]
    if len(fitting) > 1:
        names = " and ".join(known.name for known in fitting)
        raise InputError(f"{source} may be of {names}", expected="one", next_step="pass --format")
    if fitting:
        return fitting[0]
    files = layer_files(source) if source else []
    raise InputError(
        f"{source} is of no known format",
        expected="; ".join(known.about for known in FORMATS.values()),
        next_step=f"name one of its {len(files)} files, such as {files[0].name}; in Python "
        "Dictionary.open_set opens all"
        if files
        else None,
    )


def layer_files(folder: Path) -> list[Path]:
    """The files of a folder that hold a layer's dictionary each."""
    patterns = [known.by_layer for known in FORMATS.values() if known.by_layer]
    return [file for pattern in patterns for file in sorted(folder.glob(pattern))]
