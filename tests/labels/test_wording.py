"""How labels are said."""

from __future__ import annotations

from inscape.labels.wording import MOST_WORDS, in_texts, plain, quote, said, said_beside


def test_clauses_alone() -> None:
    assert said("word", ["food"]) == 'the word "food"'
    assert said("token", [" 7"]) == '"7"'
    assert said("token", ["ella"], piece=True) == 'the piece "ella"'
    assert said("folded", ["gave", "handed"]) == '"gave" or "handed"'
    assert said("beginning", ["un"]) == 'words beginning with "un-"'
    assert said("ending", ["ing", "ed"]) == 'words ending in "-ing" or "-ed"'
    assert said("class", ["years", "numbers"]) == "years or numbers"
    assert said("phrase", ["as well as"]) == 'the phrase "as well as"'
    assert said("predicted_token", [" of"]) == 'predicts "of"'
    assert said("next_kind", ["cities"]) == "words before cities"
    assert said("start", ["first"]) == "the first token of a text"
    assert said("start", ["first", "second"]) == "the first tokens of a text"


def test_two_clauses() -> None:
    assert said_beside("numbers", "previous", ["$"]) == 'numbers after "$"'
    assert said_beside('the word "bank"', "previous", ["river"]) == 'the word "bank" after "river"'
    assert said_beside('the word "lack"', "phrase", ["lack of"]) == 'the phrase "lack of"'
    assert said_beside('"a" or "b"', "next", ["c", "d", "e"]) == '"a" or "b" before "c"'


def test_many_words_are_not_all_listed() -> None:
    assert said("folded", ["game", "games", "Game"]) == 'the word "game"'
    assert said("token", ["opened", "soft", "opening", "open"]) == '"opened" or "soft"'
    assert (
        said("word", ["fl", "rare", "seldom", "gr", "often"])
        == '"rare", "seldom", "often" and others'
    )
    assert said("token", [",", "(", "the", "."]) == '"the", ",", "(" and others'
    assert said("word", ["c", "C"]) == 'the letter "c"'
    assert said("token", ["\n"], piece=True) == '"↵"'
    assert said("next_token", ["\n", "\r\n"]) == 'words before "↵"'


def test_texts_that_mean_something() -> None:
    italian = "Italian: a native or inhabitant of Italy"
    assert in_texts("capitalised words", "Italian", italian) == "capitalised words in Italian texts"
    assert in_texts('the word "a"', "Japan", "Japan: a country") == '"a" in texts about Japan'
    assert in_texts("numbers", "source code", "") == "numbers in source code"


def test_what_a_vocabulary_calls_broad_kinds() -> None:
    assert plain("groups or magnitude relations") == "groups or ratios"
    assert plain("0") == "zero"
    assert plain('words before "phenomenon"') == 'words before "phenomenon"'
    assert (
        plain('total phenomenon after "physical processes"')
        == 'total phenomenon after "physical processes"'
    )


def test_no_label_is_longer_than_six_words() -> None:
    words = ["first", "second", "third", "fourth", "fifth"]
    for attribute in ("word", "ending", "phrase", "previous", "class", "predicted_token"):
        for shown in ([f"{w} {w}" for w in words], words):
            assert len(said(attribute, shown).split()) <= MOST_WORDS
    assert said_beside("words ending in a or b or c", "next", words) == ""


def test_tokens_are_shown_as_they_are() -> None:
    assert quote(" Bridge") == '"Bridge"'
    assert quote("\n") == '"↵"'
    assert quote('"""') == '\'"""\''
    assert quote(" ") == '"␣"'
