"""A vocabulary of a dozen invented entries in WordNet's format."""

from __future__ import annotations

from pathlib import Path

LICENCE = "  1 This is an invented file.  \n"
NOUNS = [  # words, what they are kinds (or, with @i, instances) of, meaning
    (["thing"], [], "anything at all"),
    (["creature", "animal"], ["@0"], "a thing that breathes"),
    (["bird"], ["@1"], "a creature with wings"),
    (["wren"], ["@2"], "a small brown bird"),
    (["goose"], ["@2"], "a large white bird"),
    (["place"], ["@0"], "where things are"),
    (["city", "town"], ["@5"], "a place with many streets"),
    (["Wren"], ["@i6"], "a city by a river"),
    (["Old_Harbour"], ["@i6"], "a city by the sea"),
    (["bank"], ["@5"], "a place that keeps money; \"the bank is shut\""),
    (["bank"], ["@0"], "the side of a river"),
]  # fmt: skip
VERBS = [(["go"], [], "change place"), (["fly"], ["@0"], "go through the air")]


def write_vocabulary(folder: Path) -> Path:
    """Writes the folder's files; returns it."""
    folder.mkdir(exist_ok=True)
    for pos, entries in (("noun", NOUNS), ("verb", VERBS)):
        lines = [_line(number, pos, *entry) for number, entry in enumerate(entries)]
        (folder / f"data.{pos}").write_text(LICENCE + "".join(lines))
        places: dict[str, list[int]] = {}
        for number, (words, _, _) in enumerate(entries):
            for word in words:
                places.setdefault(word.lower(), []).append(number + 1)
        index = [
            f"{word} {pos[0]} {len(found)} 1 @ {len(found)} 0 "
            + " ".join(f"{place:08d}" for place in found)
            for word, found in sorted(places.items())
        ]
        (folder / f"index.{pos}").write_text(LICENCE + "\n".join(index) + "\n")
    (folder / "noun.exc").write_text("geese goose\n")
    (folder / "verb.exc").write_text("flew fly\nwent go\n")
    return folder


def _line(number: int, pos: str, words: list[str], above: list[str], gloss: str) -> str:
    pointers = [
        f"{kind} {int(kind_and[len(kind) :]) + 1:08d} {pos[0]} 0000"
        for kind_and in above
        for kind in ["@i" if kind_and.startswith("@i") else "@"]
    ]
    named = " ".join(f"{word} 0" for word in words)
    listed = " ".join([f"{len(pointers):03d}", *pointers])
    return f"{number + 1:08d} 03 {pos[0]} {len(words):02x} {named} {listed} | {gloss}  \n"


def write_lmf(path: Path) -> Path:
    """Writes the same nouns and verbs as a file in WN-LMF; returns it."""
    entries: dict[tuple[str, str], list[str]] = {}
    synsets = []
    for pos, senses in (("n", NOUNS), ("v", VERBS)):
        for number, (words, above, gloss) in enumerate(senses):
            for word in words:
                entries.setdefault((pos, word.replace("_", " ")), []).append(f"s-{pos}{number}")
            relations = [
                f'<SynsetRelation relType="{"instance_" * ("i" in one)}hypernym" '
                f'target="s-{pos}{one.strip("@i")}"/>'
                for one in above
            ]
            gloss = gloss.split(";")[0]
            synsets.append(
                f'<Synset id="s-{pos}{number}" ili="" partOfSpeech="{pos}">'
                f"<Definition>{gloss}</Definition>{''.join(relations)}</Synset>"
            )
    forms = {"goose": ["geese"], "fly": ["flew"], "go": ["went"]}
    listed = [
        f'<LexicalEntry id="s-e{number}"><Lemma writtenForm="{word}" partOfSpeech="{pos}"/>'
        + "".join(f'<Form writtenForm="{form}"/>' for form in forms.get(word, ()))
        + "".join(f'<Sense id="s-{number}-{one}" synset="{one}"/>' for one in of)
        + "</LexicalEntry>"
        for number, ((pos, word), of) in enumerate(entries.items())
    ]
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE LexicalResource SYSTEM '
        '"http://globalwordnet.github.io/schemas/WN-LMF-1.0.dtd">\n<LexicalResource '
        'xmlns:dc="https://globalwordnet.github.io/schemas/dc/"><Lexicon id="s" label="small" '
        'language="en" email="a@b" license="none" version="1">'
        + "\n".join([*listed, *synsets])
        + "</Lexicon></LexicalResource>\n"
    )
    return path
