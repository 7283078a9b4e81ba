"""A file of concepts: texts that match each, and texts that a feature of it must not take for it.

    threshold = 0.9                        # the AUROC to reach, where a concept names no other

    [[concept]]
    name = "cooking"
    matching = ["Simmer the onions in butter until they are soft."]
    distracting = ["The train to the coast leaves at noon."]

    [[concept]]                            # phrases, each put into every frame
    name = "the Golden Gate Bridge among bridges"
    frames = ["We took a photograph of {} at sunset."]
    matching = ["the Golden Gate Bridge"]
    distracting = ["the Sydney Harbour Bridge", "Tower Bridge"]

    [[concept]]                            # rows of a file (JSON lines, .gz or not; Parquet)
    name = "instructed to lie"
    matching = { file = "pairs.jsonl", text = "{order} {fact}", where = { kind = "lie" } }
    distracting = { file = "pairs.jsonl", text = "{order} {fact}", where = { kind = "truth" } }

    [[each]]                               # a concept for every value of a field
    file = "entities.jsonl"
    text = "{lead}"
    by = "kind"

    [lines]                                # a concept for every name: the other lines distract
    weather = ["It rained all night."]
    sport = ["She scored in the last minute."]

1. Files are looked up from the folder of the concepts file. Texts that are equal but for case and
   white space count once; those on both sides of a concept are left out of both.
2. Texts that share a `group` (a field of the rows; the frame; else each by itself) go to the same
   half: detectors are chosen on the first and judged on the second.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from inscape.core import Config, ConfigError, DataError, InputError
from inscape.storage import reading

EVERYDAY = Path(__file__).with_name("everyday.toml")
"""Concepts of everyday life in invented lines: what is checked where no file is named."""
LEAST = 4  # texts on either side of a concept: fewer cannot be chosen on and judged on


class Rows(Config):
    """Texts from the rows of a file: `text` names fields in braces; `where` and `unless` hold the
    value, or the values, that a field must have, or must not; `limit`: at most so many texts."""

    file: Path
    text: str = "{text}"
    where: dict[str, Any] = Field(default={})
    unless: dict[str, Any] = Field(default={})
    group: str | None = None
    limit: int | None = Field(default=None, gt=0)


class Entry(Config):
    """One concept of the file; the sides are a text, rows of a file, or a list of such."""

    name: str
    matching: Any
    distracting: Any
    frames: list[str] = Field(default=[])
    threshold: float | None = Field(default=None, ge=0.5, le=1)


class Each(Rows):
    """A concept for each value of the field `by` (those of `values`, or all): its rows match, those
    of the other values distract, or the texts of `distracting` where they are given."""

    by: str
    values: list[Any] = Field(default=[])
    name: str = "{}"
    distracting: Any = None
    threshold: float | None = Field(default=None, ge=0.5, le=1)


class ConceptFile(Config):
    """The top level of a concepts file."""

    threshold: float = Field(default=0.9, ge=0.5, le=1)
    concept: list[dict[str, Any]] = Field(default=[])
    each: list[dict[str, Any]] = Field(default=[])
    lines: dict[str, list[str]] = Field(default={})


@dataclass(frozen=True)
class Concept:
    """A concept with its texts, none twice.

    texts, matches (whether each matches), second (whether each lies in the half that detectors are
    judged on), groups; threshold: the AUROC to reach; num_left_out: duplicates.
    """

    name: str
    texts: tuple[str, ...]
    matches: tuple[bool, ...]
    second: tuple[bool, ...]
    groups: tuple[str, ...]
    threshold: float
    num_left_out: int = 0


def read_concepts(path: str | Path = EVERYDAY) -> list[Concept]:
    """The concepts of a file.

    Raises:
        ConfigError: an unknown key, or a value that is not usable.
        DataError: the file, or one that it names, is not there or cannot be read.
        InputError: there is no concept, two have one name, or one has too few texts.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no concepts file {path}", next_step="check the path")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no TOML ({error})", expected="a file of concepts") from error
    try:
        found = list(_Reader(path).concepts(content))
    except InputError as error:
        raise type(error)(
            f"{path}: {error.what}", expected=error.expected, next_step=error.next_step
        ) from error
    names = [concept.name for concept in found]
    if not found:
        raise InputError(f"{path} names no concept", expected="[[concept]], [[each]] or [lines]")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path} has two concepts {twice!r}", expected="a name for each")
    return found


def _entry(given: Any) -> Entry:
    """A concept of its own; an error names it."""
    try:
        return Entry.model_validate(given)
    except ConfigError as error:
        name = given.get("name") if isinstance(given, dict) else None
        raise ConfigError(
            f"concept {name!r}: {error.what}" if name else f"a [[concept]]: {error.what}",
            expected=error.expected,
            next_step=error.next_step,
        ) from error


Side = list[tuple[str, str]]
"""Texts, each with its group."""


class _Reader:
    """Reads one concepts file; rows of the files that it names are read once."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._rows: dict[Path, list[dict[str, Any]]] = {}

    def concepts(self, content: dict[str, Any]) -> Iterator[Concept]:
        settings = ConceptFile.model_validate(content)
        for entry in map(_entry, settings.concept):
            sides = [self._side(side) for side in (entry.matching, entry.distracting)]
            if entry.frames:
                sides = [_framed(side, entry.frames, entry.name) for side in sides]
            yield _concept(entry.name, sides, entry.threshold or settings.threshold)
        for each in map(Each.model_validate, settings.each):
            rows = self._chosen(each)
            of = [str(row[each.by]) for row in rows]
            values = list(dict.fromkeys(map(str, each.values) if each.values else of))
            parts = [
                _filled(each, [row for row, its in zip(rows, of, strict=True) if its == value])
                for value in values
            ]
            for number, value in enumerate(values):
                if each.distracting is None:
                    others = [
                        text for part in parts[:number] + parts[number + 1 :] for text in part
                    ]
                else:
                    others = self._side(each.distracting)
                name = each.name.replace("{}", value)
                sides = [parts[number], others]
                yield _concept(name, sides, each.threshold or settings.threshold)
        for name, lines in settings.lines.items():
            rest = [
                line for other, part in settings.lines.items() if other != name for line in part
            ]
            sides = [[(line, line) for line in part] for part in (lines, rest)]
            yield _concept(name, sides, settings.threshold)

    def _side(self, given: Any) -> Side:
        """The texts that one side of a concept names."""
        found: Side = []
        for item in given if isinstance(given, list) else [given]:
            if isinstance(item, str):
                found.append((item, item))
            else:
                rows = Rows.model_validate(item)
                found += _filled(rows, self._chosen(rows))
        return found

    def _chosen(self, asked: Rows) -> list[dict[str, Any]]:
        """The rows that `where` and `unless` leave."""
        path = self._folder / asked.file
        if path not in self._rows:
            self._rows[path] = _read(path)
        rows = self._rows[path]
        by = {asked.by} if isinstance(asked, Each) else set()
        fields = {*asked.where, *asked.unless, *by, *_fields(asked.text)}
        fields |= {asked.group} if asked.group else set()
        if missing := sorted(field for field in fields if not any(field in row for row in rows)):
            raise InputError(
                f"no row of {path} has a field {missing[0]!r}",
                expected=f"one of {', '.join(dict.fromkeys(k for row in rows[:100] for k in row))}",
            )
        needed = by | set(_fields(asked.text))
        return [
            row
            for row in rows
            if all(row.get(field) for field in needed)
            and all(row.get(field) in _several(v) for field, v in asked.where.items())
            and not any(row.get(field) in _several(v) for field, v in asked.unless.items())
        ]


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _fields(template: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigError(f"text {template!r} is not usable ({error})") from error


def _filled(asked: Rows, rows: Iterable[Mapping[str, Any]]) -> Side:
    """The texts of rows, in a random order of their own, at most `limit` of them."""
    found = []
    for row in rows:
        text = asked.text
        for field in _fields(asked.text):
            text = text.replace(f"{{{field}}}", str(row[field]))
        found.append((text, str(row.get(asked.group)) if asked.group else text))
    return sorted(found, key=lambda pair: _hash(pair[0]))[: asked.limit]


def _framed(side: Side, frames: Sequence[str], name: str) -> Side:
    """Every phrase in every frame."""
    if wrong := next((frame for frame in frames if frame.count("{}") != 1), None):
        raise ConfigError(f"frame {wrong!r} of {name!r} is not usable", expected="one {} in it")
    return [(frame.replace("{}", phrase), frame) for frame in frames for phrase, _ in side]


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines or Parquet file."""
    again = "check the path, which is looked up from the concepts file"
    if not path.is_file():
        raise DataError(f"there is no file {path}", next_step=again)
    with reading(path, again, OSError, EOFError, ValueError, pa.ArrowException):
        if path.suffix == ".parquet":
            return list(pq.read_table(path).to_pylist())
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rows = [json.loads(line) for line in raw.decode("utf-8").splitlines() if line.strip()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a line is no JSON object")
        return rows


def _concept(name: str, sides: Sequence[Side], threshold: float) -> Concept:
    """A concept without duplicates, its texts in halves."""
    keys = [{_key(text) for text, _ in side} for side in sides]
    both = keys[0] & keys[1]
    kept: list[Side] = []
    for side in sides:
        distinct = {_key(text): (text, group) for text, group in reversed(side) if text.strip()}
        kept.append([pair for key, pair in reversed(distinct.items()) if key not in both])
    if min(map(len, kept)) < LEAST:
        raise InputError(
            f"concept {name!r} has {len(kept[0])} matching and {len(kept[1])} distracting texts",
            expected=f"at least {LEAST} of each, none on both sides",
        )
    second: dict[str, bool] = {}
    for side in kept:
        fresh = sorted({group for _, group in side} - second.keys(), key=_hash)
        second |= {group: number % 2 == 1 for number, group in enumerate(fresh)}
    pairs = [*kept[0], *kept[1]]
    matches = [True] * len(kept[0]) + [False] * len(kept[1])
    halves = {(match, second[group]) for match, (_, group) in zip(matches, pairs, strict=True)}
    if len(halves) < 4:
        raise InputError(
            f"the texts of concept {name!r} do not fall into halves: too many share a group",
            expected="at least two groups on either side",
        )
    return Concept(
        name,
        tuple(text for text, _ in pairs),
        tuple(matches),
        tuple(second[group] for _, group in pairs),
        tuple(group for _, group in pairs),
        threshold,
        sum(map(len, sides)) - len(pairs),
    )


def _key(text: str) -> str:
    return " ".join(text.split()).casefold()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
