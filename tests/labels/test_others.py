"""Labels by others: scored like each other on documents that were not shown."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.labels.chat_server import Served, labelled, serving
from tests.labels.conftest import DEAD, DIGIT, DOCUMENT, RANDOM, TOKEN, Planted, text_of
from tests.labels.fake_embedder import WordEmbedder

from inscape.core import InputError, InscapeWarning, StorageError
from inscape.labels import Endpoint, Limits, Published, label
from inscape.labels.others import ask_for_texts, compared, folder_name, published_texts, write_texts
from inscape.labels.texts import explaining_documents, score_texts
from inscape.storage import lock

WORD = text_of(9).strip()


def test_a_text_that_names_the_word_is_right_and_another_is_not(
    planted: Planted, tmp_path: Path
) -> None:
    texts = {TOKEN: WORD, DIGIT: " ".join(text_of(i).strip() for i in range(30, 40)), RANDOM: "x"}
    labels = {
        one.feature: one
        for one in score_texts(
            planted.index,
            texts,
            "person",
            WordEmbedder(),  # type: ignore[arg-type]
            tmp_path / "windows",
        )
    }
    right = labels[TOKEN]
    assert right.auroc > 0.8
    assert right.low <= right.auroc <= right.high
    assert right.shuffled < 0.75
    assert (right.text, right.source, right.kind) == (WORD, "person", "concept")
    assert right.words[0] == WORD
    assert min(right.num_positive, right.num_negative) >= 8
    assert labels[RANDOM].auroc < 0.7
    assert np.isnan(right.auroc_near) or right.auroc_near <= 1
    assert right.auroc_text == right.auroc
    assert not list(tmp_path.iterdir())


def test_only_documents_that_were_not_shown_are_read(planted: Planted, tmp_path: Path) -> None:
    shown = set(explaining_documents(planted.index, 0).tolist())
    table = planted.index.tokens
    embedder = WordEmbedder()
    read: list[str] = []
    plain = embedder.embed_words

    def noted(texts: Any) -> Any:
        read.extend(" ".join(words).strip() for words in texts)
        return plain(texts)

    embedder.embed_words = noted  # type: ignore[method-assign]
    texts = {DOCUMENT: "topic"}
    score_texts(planted.index, texts, "person", embedder, tmp_path / "w")  # type: ignore[arg-type]
    by_document: dict[int, str] = {}
    for row in np.flatnonzero(table.considered).tolist():
        document = int(table.documents[row])
        by_document[document] = by_document.get(document, "") + table.text(int(table.ids[row]))
    assert len(read) > 10
    unseen = {text.strip() for document, text in by_document.items() if document not in shown}
    assert set(read) <= unseen


def test_without_an_embedder_there_are_no_scores(planted: Planted, tmp_path: Path) -> None:
    texts = {TOKEN: WORD, RANDOM: ""}
    (named, unclear) = score_texts(planted.index, texts, "person", None, tmp_path / "windows")
    assert named.name == WORD
    assert np.isnan(named.auroc)
    assert named.num_scored == 0
    assert (unclear.name, unclear.kind) == (None, "unclear")


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> WordEmbedder:
    made = WordEmbedder()
    monkeypatch.setattr("inscape.labels.others._embedder", lambda: made)
    return made


def test_published_explanations_become_labels(
    planted: Planted, embedder: WordEmbedder, tmp_path: Path
) -> None:
    theirs = Published("theirs", {TOKEN: WORD, DEAD: "never seen"}, "m/l")
    texts = published_texts(planted.index, theirs)
    assert texts == {TOKEN: WORD}
    out = tmp_path / folder_name("toy", theirs)
    assert out.name == "toy@published-theirs"
    labels = write_texts(planted.index, out, texts, theirs, {"published": {}})
    assert labels[TOKEN].source == "published:theirs"
    assert labels.summary["num_scored"] == 1
    assert labels.embeddings is not None
    count = embedder.num_texts
    write_texts(planted.index, out, texts, theirs, {"published": {}})
    assert embedder.num_texts == count  # nothing is made twice
    write_texts(planted.index, out, {TOKEN: "another"}, theirs, {"published": {}})
    assert embedder.num_texts > count
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_texts(planted.index, out, texts, theirs, {})


def test_explanations_of_another_dictionary_are_refused(planted: Planted) -> None:
    with pytest.raises(InputError, match="explains feature 9 of m/l.*toy, which has 9"):
        published_texts(planted.index, Published("theirs", {9: "x"}, "m/l"))


def test_texts_are_compared_on_the_same_windows(
    planted: Planted, embedder: WordEmbedder, tmp_path: Path
) -> None:
    both = []
    for name, texts in {
        "good": {TOKEN: WORD, RANDOM: "x", DIGIT: "y"},
        "bad": {TOKEN: "zebra", DIGIT: ""},
    }.items():
        by = Published(name, texts, "")
        both.append(write_texts(planted.index, tmp_path / name, texts, by, {}))
    found = compared(*both)
    assert found is not None
    assert (found.num_features, found.better.count, found.better.total) == (1, 1, 1)
    assert found.first == both[0][TOKEN].auroc > 0.95 > found.second
    assert found.to_json()["better"]["share"] == 1
    back = compared(both[1], both[0])
    assert back is not None
    assert back.better.count == 0
    by = Published("again", {TOKEN: WORD}, "")
    other = write_texts(planted.index, tmp_path / "again", by.texts, by, {}, seed=2)
    assert compared(other, both[1]) is None  # other halves of the documents


def test_a_text_is_scored_as_that_of_an_offline_label(
    planted: Planted, embedder: WordEmbedder, tmp_path: Path
) -> None:
    offline = label(planted.index, tmp_path / "toy", embedder=embedder)  # type: ignore[arg-type]
    named = [one for one in offline if one.num_scored]
    assert len(named) >= 4
    by = Published("same", {one.feature: one.text for one in named}, "")
    theirs = write_texts(planted.index, tmp_path / "toy@same", by.texts, by, {})
    for one in named:
        again = theirs[one.feature]
        assert again.auroc == pytest.approx(one.auroc_text, abs=0.003)
        assert (again.num_positive, again.num_negative) == (one.num_positive, one.num_negative)
    assert any(one.auroc > one.auroc_text + 0.1 for one in named)  # the rule knows more
    found = compared(theirs, offline)
    assert found is not None
    assert found.num_features == len(named)
    assert found.first == pytest.approx(found.second, abs=0.003)


def test_a_model_is_asked_about_what_can_be_shown(planted: Planted, tmp_path: Path) -> None:
    with serving(Served(lambda body: labelled("a thing"))) as served:
        asked = Endpoint(served.url, "m", concurrency=2)
        estimates: list[Any] = []

        def before(estimate: Any) -> bool:
            estimates.append(estimate)
            return len(estimates) > 1

        assert ask_for_texts(planted.index, asked, tmp_path / "a", before=before) is None
        assert not (tmp_path / "a").exists()
        found = ask_for_texts(planted.index, asked, tmp_path / "a", before=before)
        assert found is not None
        texts, report = found
        assert len(served.requests) == len(texts) == estimates[0].num_questions >= 6
        assert set(texts.values()) == {"a thing"}
        assert DEAD not in texts
        assert report["num_answered"] == len(texts)
        ask_for_texts(planted.index, asked, tmp_path / "a", before=before)
        assert estimates[-1].num_questions == 0
        assert len(served.requests) == len(texts)


def test_two_processes_do_not_ask_the_same(planted: Planted, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with lock(tmp_path / "a"):
            begun.set()
            go_on.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(10)
    try:
        with serving(Served(lambda body: labelled("a thing"))) as served:
            with pytest.raises(StorageError, match="is being written by process"):
                ask_for_texts(planted.index, Endpoint(served.url, "m"), tmp_path / "a")
            assert not served.requests
    finally:
        go_on.set()
        holder.join()


def test_what_is_missing_is_said(planted: Planted, tmp_path: Path) -> None:
    with serving(Served(lambda body: labelled("a thing"))) as served:
        asked = Endpoint(served.url, "m", concurrency=1, answer_tokens=10)
        with pytest.warns(InscapeWarning, match="are not answered.*the limit of 700 tokens"):
            found = ask_for_texts(
                planted.index, asked, tmp_path / "a", limits=Limits(max_tokens=700)
            )
    assert found is not None
    texts, report = found
    assert 0 < len(texts) < report["num_questions"]
    lines = (tmp_path / "a" / "answers.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == len(texts)
