"""Reading a vocabulary in WordNet's format, and what kinds of things a corpus speaks of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.labels.small_vocabulary import write_lmf, write_vocabulary

from inscape.core import InputError, StorageError
from inscape.labels import Vocabulary, vocabulary
from inscape.labels.kinds import plural


@pytest.fixture(scope="module", params=["folder", "lmf"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    place = tmp_path_factory.mktemp("words")
    if request.param == "lmf":
        return Vocabulary.open(write_lmf(place / "small.xml"))
    return Vocabulary.open(write_vocabulary(place / "dict"))


def names(found: Vocabulary, numbers: list[int]) -> list[str]:
    return [found.senses[number].words[0] for number in numbers]


def test_words_are_found_in_their_forms(small: Vocabulary) -> None:
    assert names(small, [*small.meanings("geese")]) == ["goose"]
    assert names(small, [*small.meanings("Cities")]) == ["city"]
    assert names(small, [*small.meanings("wrens")]) == ["wren", "Wren"]
    assert names(small, [*small.meanings("old harbour")]) == ["Old Harbour"]
    assert (
        names(small, [*small.meanings("flew", "v"), *small.meanings("flies", "v")]) == ["fly"] * 2
    )
    assert small.meanings("walrus") == ()
    assert [small.senses[m].gloss for m in small.meanings("bank")] == [
        "a place that keeps money",
        "the side of a river",
    ]


def test_everything_above_a_meaning(small: Vocabulary) -> None:
    (goose,) = small.meanings("goose")
    above = small.above(goose)
    assert names(small, [*above]) == ["goose", "bird", "creature", "thing"]
    assert list(above.values()) == [0, 1, 2, 3]
    town = small.meanings("Wren")[1]
    assert small.senses[town].instance
    assert names(small, [*small.above(town)]) == ["Wren", "city", "place", "thing"]


def test_the_name_is_the_common_word(small: Vocabulary) -> None:
    creature = small.meanings("creature")[0]
    assert small.name(creature, Counter()) == "creature"
    assert small.name(creature, Counter(animal=3, creature=1)) == "animal"


def test_plurals_that_the_corpus_has() -> None:
    counts = Counter(
        city=4, cities=2, women=1, woman=3, music=50, president=9, presidents=3, people=8, boxes=2
    )
    assert plural("city", counts) == "cities"
    assert plural("music", counts) == "music"
    assert plural("president of a country", counts) == "presidents of a country"
    assert plural("person", counts) == "people"
    assert plural("box", counts) == "boxes"
    assert plural("Wren", counts) == "Wren"


def test_a_vocabulary_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match="has no data.noun; expected a folder of WordNet, or a file"
    ):
        Vocabulary.open(tmp_path)
    empty = tmp_path / "empty.xml"
    empty.write_text("<LexicalResource></LexicalResource>")
    with pytest.raises(InputError, match="has no nouns; expected a wordnet in WN-LMF"):
        Vocabulary.open(empty)
    empty.write_text("<LexicalResource>")
    with pytest.raises(StorageError, match=r"empty.xml"):
        Vocabulary.open(empty)
    monkeypatch.setattr(vocabulary, "PLACES", (str(tmp_path / "nowhere"),))
    with pytest.raises(InputError, match="WordNet is not installed; run: apt install wordnet-base"):
        Vocabulary.open()
    monkeypatch.setattr(vocabulary, "PLACES", (str(tmp_path / "dict"),))
    folder = write_vocabulary(tmp_path / "dict")
    assert vocabulary.find() == folder
    assert Vocabulary.open().hash == Vocabulary.open(folder).hash
    (folder / "data.noun").write_text("00000001 03 n zz\n")
    with pytest.raises(StorageError, match="dict"):
        Vocabulary.open(folder)
