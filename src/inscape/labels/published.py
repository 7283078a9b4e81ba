"""Explanations that others have published of a dictionary's features.

Neuronpedia   DIR/explanations/batch-N.jsonl.gz, or one such file (gzip or not): a line for each
              explanation {modelId, layer, index, description, ...}
delphi        DIR/explanations/HOOKPOINT_latentN.txt, each a JSON string, and beside it
              DIR/scores/SCORER/HOOKPOINT_latentN.txt, a list of {activating, prediction, ...}
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inscape.core import InputError, StorageError, short
from inscape.storage import reading

_LATENT = re.compile(r"(.*?)_?latent_?(\d{1,9})\.txt")
_EXPECTED = (
    "a folder of explanations, or a .jsonl(.gz) file with index and description in each line"
)
MOST_CHARACTERS = 1000  # of an explanation: more is cut off


@dataclass(frozen=True)
class Published:
    """Explanations of one dictionary's features.

    Attributes:
        name: what they are called in labels.
        texts: feature → explanation, of several the first.
        about: what they say that they are of: the source of Neuronpedia, the hookpoint of delphi.
        num_more: explanations that are left out, since their feature has one.
        accuracy: scorer → feature → balanced accuracy, as published.
    """

    name: str
    texts: dict[int, str]
    about: str
    num_more: int = 0
    accuracy: dict[str, dict[int, float]] = field(default_factory=dict)


def read_published(path: Path, name: str | None = None) -> Published:
    """The explanations in a file or a folder; their name by default that of the file or folder.

    Raises:
        InputError: there are none, or they are of several dictionaries.
        StorageError: a file cannot be read, or a line is no explanation.
    """
    path = Path(path)
    called = name or path.resolve().name.split(".jsonl")[0]
    if not re.fullmatch(r"[\w.+-]{1,80}", called):
        raise InputError(
            f"the name {called!r} of published labels",
            expected="letters, digits and any of _.+-",
            next_step="choose one with --name",
        )
    inside = path / "explanations" if (path / "explanations").is_dir() else path
    if path.is_dir() and any(_LATENT.fullmatch(file.name) for file in _entries(inside)):
        return _delphi(path, inside, called)
    files = [path]
    if path.is_dir():
        found = [file for file in _entries(inside) if re.search(r"\.jsonl(\.gz)?$", file.name)]
        files = sorted(found, key=lambda file: (len(file.name), file.name))  # batch-2, batch-10
    if not files:
        raise InputError(f"{path} holds no explanations", expected=_EXPECTED)
    return _neuronpedia(path, files, called)


def _neuronpedia(path: Path, files: list[Path], name: str) -> Published:
    texts: dict[int, str] = {}
    about: dict[str, None] = {}
    num_more = 0
    for file in files:
        for number, row in _lines(file):
            index, text = _feature(row), row.get("description") if isinstance(row, dict) else None
            if index is None or not isinstance(text, str):
                raise StorageError(
                    f"line {number} of {file} is no explanation: {short(row)}", expected=_EXPECTED
                )
            about.setdefault("/".join(str(row[k]) for k in ("modelId", "layer") if k in row))
            num_more += index in texts
            if line := _one_line(text):
                texts.setdefault(index, line)
    return Published(name, texts, _only(path, list(about), texts), num_more)


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file with the numbers of their lines."""
    step = "download it again"
    with reading(file, step, OSError, EOFError, zlib.error, ValueError, RecursionError):
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        text = content.decode("utf-8")
        if text.lstrip()[:1] == "[":  # what its interface gives: one list
            yield from enumerate(json.loads(text), 1)
            return
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, json.loads(line)


def _feature(row: Any) -> int | None:
    """The number of a row's feature, which is written as text."""
    found = row.get("index") if isinstance(row, dict) else None
    text = str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _delphi(path: Path, inside: Path, name: str) -> Published:
    texts: dict[int, str] = {}
    about: dict[str, None] = {}
    for file, point, feature in _latents(inside):
        text = _content(file)
        if not isinstance(text, str):
            raise StorageError(f"{file} is no explanation", expected="a text as JSON")
        about.setdefault(point)
        if line := _one_line(text):
            texts.setdefault(feature, line)
    scores = path / "scores"
    scorers = sorted(one for one in _entries(scores) if one.is_dir()) if scores.is_dir() else []
    accuracy: dict[str, dict[int, float]] = {}
    for scorer in scorers:
        found = {n: _accuracy(_content(file)) for file, _, n in _latents(scorer)}
        kept = {feature: value for feature, value in found.items() if value is not None}
        accuracy |= {scorer.name: kept} if kept else {}
    return Published(name, texts, _only(path, list(about), texts), accuracy=accuracy)


def _latents(folder: Path) -> Iterator[tuple[Path, str, int]]:
    """The files of a folder with hookpoint and feature, in the order of features."""
    named = [(file, _LATENT.fullmatch(file.name)) for file in _entries(folder)]
    found = [(file, match[1].replace("--", "/"), int(match[2])) for file, match in named if match]
    yield from sorted(found, key=lambda one: one[2])


def _entries(folder: Path) -> list[Path]:
    with reading(folder, "check the path"):
        return list(folder.iterdir())


def _content(file: Path) -> Any:
    with reading(file, "make it again", OSError, ValueError, RecursionError):
        return json.loads(file.read_text(encoding="utf-8"))


def _accuracy(rows: Any) -> float | None:
    """Balanced accuracy of the predictions of a scorer; None where one side is missing."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for row in rows if isinstance(rows, list) else ():
        said = row.get("prediction") if isinstance(row, dict) else None
        fires = row.get("activating") if isinstance(row, dict) else None
        if isinstance(said, bool) and isinstance(fires, bool):
            right[fires].append(said == fires)
    return (
        float(np.mean([np.mean(side) for side in right.values()])) if all(right.values()) else None
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARACTERS]


def _only(path: Path, about: list[str], texts: dict[int, str]) -> str:
    """What all explanations are of."""
    if not texts:
        raise InputError(f"{path} holds no explanations", expected=_EXPECTED)
    if len(about) > 1:
        raise InputError(
            f"{path} holds explanations of {', '.join(map(repr, sorted(about)[:4]))}",
            expected="those of one dictionary",
            next_step="put them into a folder or a file of their own",
        )
    return about[0]
