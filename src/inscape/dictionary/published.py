"""Where a dictionary lies: a folder, or a repository on the Hugging Face hub.

1. What exists on this machine is taken as it is.
2. `owner/name`, or `owner/name/folder/within`, is looked for in the local cache of the hub.
3. It is downloaded: the named folder alone, or what lies at the top of the repository. One with
   many dictionaries is large.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from inscape.core import StorageError

_NAME = re.compile(
    r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(?P<within>(?:/\w[\w.-]*)*)(?:@(?P<revision>[\w./-]+))?",
    re.ASCII,
)


def local(
    name: str | Path,
    *,
    revision: str | None = None,
    files: tuple[str, ...] = ("*",),
    there: Callable[[Path], bool] = Path.exists,
) -> Path:
    """The local place of a dictionary, which is downloaded where it is not there yet.

    Args:
        name: a path, or `owner/name`, or `owner/name/folder/within`; @revision may follow.
        revision: of the repository: a branch, a tag or a commit.
        files: what is wanted of the folder; patterns.
        there: whether a place holds what is wanted.

    Raises:
        StorageError: neither here nor to be had.
    """
    path, text = Path(name).expanduser(), str(name)
    found = _NAME.fullmatch(text)
    if path.exists() or found is None:
        return path
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, within = found["repository"], found["within"].removeprefix("/")
    revision = revision or found["revision"]
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository, revision=revision, local_files_only=True
        )
        if there(Path(snapshot) / within):
            return Path(snapshot) / within
    except LocalEntryNotFoundError:
        pass
    wanted = [f"{within}/{pattern}" if within else pattern for pattern in files]
    if Path(within).suffix:  # a file: what lies beside it may say how it is to be read
        beside = within.rpartition("/")[0]
        wanted += [f"{beside}/{name}".removeprefix("/") for name in ("*.json", "*.yaml")]
    try:
        snapshot = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*wanted, *([within] if within else [])],
            ignore_patterns=None if within else ["*/*"],
        )
    except Exception as error:  # the hub's client and the network below it have many of their own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StorageError(
            f"{text!r} is no path here, not in the local hub cache, and could not be downloaded "
            f"from the repository {repository} ({reason})",
            expected="a dictionary's folder, or owner/name of a published one",
            next_step=f"where there is a network, run: hf download {repository}"
            + (f" --include '{within}/*'" if within else ""),
        ) from error
    if not (Path(snapshot) / within).exists():
        raise StorageError(
            f"the repository {repository} has no {within}",
            expected="a folder of it",
            next_step="look at its files for the folder's name",
        )
    return Path(snapshot) / within
