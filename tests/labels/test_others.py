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
from inscape.labels import Endpoint, Limits, Published
from inscape.labels.others import ask_for_texts, better, folder_name, published_texts, write_texts
from inscape.labels.texts import explaining_documents, score_texts
from inscape.storage import lock

WORD = text_of(9).strip()


def test_a_text_that_names_the_word_is_right_and_another_is_not(planted: Planted) -> None:
    texts = {TOKEN: WORD, DIGIT: " ".join(text_of(i).strip() for i in range(30, 40)), RANDOM: "x"}
    labels = {
        one.feature: one
        for one in score_texts(
            planted.index,
            texts,
            "person",
            WordEmbedder(),  # type: ignore[arg-type]
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


def test_only_documents_that_were_not_shown_are_read(planted: Planted) -> None:
    shown = set(explaining_documents(planted.index, 0).tolist())
    table = planted.index.tokens
    embedder = WordEmbedder()
    read: list[str] = []
    plain = embedder.embed

    def noted(texts: Any) -> Any:
        read.extend(texts)
        return plain(texts)

    embedder.embed = noted  # type: ignore[method-assign]
    score_texts(planted.index, {DOCUMENT: "topic"}, "person", embedder)  # type: ignore[arg-type]
    by_document: dict[int, str] = {}
    for row in range(len(table)):
        document = int(table.documents[row])
        by_document[document] = by_document.get(document, "") + table.text(int(table.ids[row]))
    windows = [text for text in read if len(text) > 8]
    assert len(windows) > 10
    unseen = "\n".join(text for document, text in by_document.items() if document not in shown)
    assert all(text in unseen for text in windows)
    assert not all(
        text in "\n".join(by_document[document] for document in shown) for text in windows
    )


def test_without_an_embedder_there_are_no_scores(planted: Planted) -> None:
    (label, unclear) = score_texts(planted.index, {TOKEN: WORD, RANDOM: ""}, "person", None)
    assert label.name == WORD
    assert np.isnan(label.auroc)
    assert label.num_scored == 0
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


def test_labels_are_compared_where_both_are_scored(
    planted: Planted, embedder: WordEmbedder, tmp_path: Path
) -> None:
    both = []
    for name, texts in {
        "good": {TOKEN: WORD, RANDOM: "x", DIGIT: "y"},
        "bad": {TOKEN: "zebra", DIGIT: ""},
    }.items():
        by = Published(name, texts, "")
        both.append(write_texts(planted.index, tmp_path / name, texts, by, {}))
    found = better(*both)
    assert (found.count, found.total) == (1, 1)
    assert better(both[1], both[0]).count == 0


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
