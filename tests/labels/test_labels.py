"""Labels of planted features, honesty of their scores, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.features.made import write_index
from tests.labels.fake_embedder import WordEmbedder
from tests.labels.small_vocabulary import write_vocabulary

from inscape.core import InputError, StorageError
from inscape.features import FeatureIndex, TokenTable
from inscape.features.logits import HeadInputs
from inscape.labels import Label, Labels, Searched, Vocabulary, label, search
from inscape.labels.candidates import Windows
from inscape.labels.labeller import Labeller
from inscape.labels.parts import Parts
from inscape.labels.rules import Rule, aurocs
from inscape.labels.sampling import NEAR
from inscape.labels.sampling import RANDOM as AT_RANDOM
from inscape.labels.store import write_labels
from inscape.labels.words import Words
from inscape.storage import read_json, write_json

TOKEN, BIGRAM, RANDOM, CONTEXT, DOCUMENT, NEXT, RARE, DEAD, DIGIT = range(9)


@pytest.fixture(scope="module")
def labels(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> Labels:
    return label(planted.index, tmp_path_factory.mktemp("out") / "labels", seed=1)


@pytest.fixture(scope="module")
def labeller(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> Labeller:
    return Labeller(planted.index, 1, 100, None, None, tmp_path_factory.mktemp("parts"))


@pytest.mark.parametrize(
    ("feature", "text", "kind"),
    [
        (TOKEN, 'the word "wi"', "word"),
        (BIGRAM, 'the word "wg" after "we"', "word"),
        (NEXT, 'predicts "wm"', "prediction"),
        (DIGIT, "numbers", "word"),
    ],
)
def test_planted_features_are_found(labels: Labels, feature: int, text: str, kind: str) -> None:
    found = labels[feature]
    assert (found.text, found.kind, found.source) == (text, kind, "offline")
    assert found.auroc > 0.97
    assert found.low <= found.auroc <= found.high
    assert found.auroc_near > 0.9
    assert 0.3 < found.shuffled < 0.75


def test_what_fires_and_what_is_promoted_stand_beside_the_label(labels: Labels) -> None:
    assert labels[TOKEN].words == ("wi",)
    assert set(labels[DIGIT].words) <= set(map(str, range(10)))
    assert labels[NEXT].predicts[0] == " wm"
    assert labels[RANDOM].words


def test_the_token_alone_does_not_pass_for_the_bigram(labeller: Labeller) -> None:
    """The near windows hold token 7 elsewhere: "fires on 7" is wrong on those."""
    rng = np.random.default_rng(0)
    sample = labeller.score.draw(labeller.index, BIGRAM, 100, rng)
    near = sample.rows[sample.group == NEAR]
    assert np.mean(labeller.corpus.words.ids[near] == 7) >= 0.5
    assert len({*sample.rows.tolist()}) == sample.rows.size


def test_a_feature_without_a_pattern_has_no_name(labels: Labels) -> None:
    found = labels[RANDOM]
    assert (found.kind, found.text, found.name) == ("unclear", "", None)
    assert np.isnan(found.auroc)
    assert RANDOM not in {feature for feature, _ in labels.search("no clear pattern")}


class Fires:
    """Stands for an index in which the feature asked for fires on the given rows."""

    num_features = 1

    def __init__(self, rows: Any) -> None:
        self.rows = np.sort(rows).astype(np.int32)

    def rows_of(self, feature: int) -> Any:
        return self.rows, np.full(self.rows.size, 0.5, np.float32)

    def neighbours(self, feature: int) -> list[tuple[int, float]]:
        return []

    def promoted_ids(self, feature: int) -> list[int]:
        return []


def test_noise_is_called_noise(planted: Any, labeller: Labeller) -> None:
    """Of many random features most get no label; what they get does not last on other documents."""
    rng = np.random.default_rng(5)
    considered = np.flatnonzero(planted.index.tokens.considered)
    named, lasting = 0, []
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(30):
            fires = Fires(rng.choice(considered, 600, replace=False))
            patch.setattr(labeller, "index", fires)
            draft = labeller.draft(0)
            named += draft.rule is not None
            sample = labeller.explain.draw(labeller.index, 0, 100, np.random.default_rng(1))
            windows = Windows.read(labeller.corpus, sample, sample.group >= 0)
            unseen = labeller.score.draw(labeller.index, 0, 100, np.random.default_rng(2))
            for rule in labeller.writer.rules(windows, []):
                scores = labeller.corpus.scores_at([rule], unseen.rows)
                lasting += [*aurocs(scores, unseen.positive, unseen.group == AT_RANDOM)]
    assert named <= 3
    assert len(lasting) > 20
    assert np.mean(lasting) == pytest.approx(0.5, abs=0.03)


def test_scoring_windows_lie_in_documents_the_writer_never_saw(
    planted: Any, labeller: Labeller
) -> None:
    documents = planted.index.tokens.documents
    explained = set(documents[labeller.explain.rows])
    scored = set(documents[labeller.score.rows])
    assert not explained & scored
    assert abs(len(explained) - len(scored)) <= 1
    for feature in (TOKEN, BIGRAM, DIGIT):
        for half, owners in ((labeller.explain, explained), (labeller.score, scored)):
            sample = half.draw(labeller.index, feature, 50, np.random.default_rng(3))
            assert set(documents[sample.rows]) <= owners
            assert np.array_equal(planted.planted[feature][sample.rows], sample.positive)
            assert np.unique(sample.rows).size == sample.rows.size
            assert sample.count(AT_RANDOM) == 50


def test_the_writer_reads_the_explaining_half_only(labeller: Labeller) -> None:
    """Scrambling what the feature does in the scoring half changes no text, only the score."""
    index = labeller.index
    rows = index.rows_of(BIGRAM)[0]
    moved = np.random.default_rng(0).choice(labeller.score.rows, 80, replace=False)
    scrambled = Fires(np.concatenate([rows[labeller.explain.member[rows]], moved]))
    plain = Fires(rows)
    drafts, scores = [], []
    with pytest.MonkeyPatch.context() as patch:
        for fires in (plain, scrambled):
            patch.setattr(labeller, "index", fires)
            draft = labeller.draft(0)
            assert draft.rule is not None
            sample = labeller.score.draw(labeller.index, 0, 60, np.random.default_rng(0))
            drafts.append(draft.rule.text)
            found = labeller.corpus.scores_at([draft.rule], sample.rows)
            scores += [*aurocs(found, sample.positive, sample.group == AT_RANDOM)]
    assert drafts[0] == drafts[1] == 'the word "wg" after "we"'
    assert scores[0] > 0.97
    assert scores[1] < 0.6


def test_rare_and_dead_features_are_counted_not_labelled(labels: Labels) -> None:
    assert RARE not in labels
    assert DEAD not in labels
    assert labels.get(DEAD) is None
    summary = labels.summary
    assert (summary["num_dead"], summary["num_too_few_activations"]) == (1, 1)
    assert (summary["num_scored"], len(labels)) == (4, 7)
    assert (summary["num_labelled"], summary["num_unclear"]) == (4, 3)
    assert 0.3 < summary["median_shuffled"] < 0.7
    assert ["embedder" in summary["would_help"][0], len(summary["would_help"])] == [True, 2]
    with pytest.raises(InputError, match="feature 7 has no label"):
        labels[DEAD]
    with pytest.raises(InputError, match="0 to 8"):
        labels[9]


def test_labels_come_back_from_disk(planted: Any, labels: Labels) -> None:
    again = Labels.open(labels.folder)
    assert list(map(str, again)) == list(map(str, labels))  # NaN is not itself
    assert again[TOKEN].text == 'the word "wi"'
    table = pq.read_table(labels.folder / "labels.parquet")
    assert table.num_rows == 7
    clauses = json.loads(again[BIGRAM].rule)["clauses"]
    assert [clause["values"] for clause in clauses] == [[" wg"], ["we"]]


def test_the_same_call_returns_at_once_and_another_is_refused(planted: Any, labels: Labels) -> None:
    before = (labels.folder / "labels.parquet").stat().st_mtime_ns
    assert len(label(planted.index, labels.folder, seed=1)) == len(labels)
    assert (labels.folder / "labels.parquet").stat().st_mtime_ns == before
    with pytest.raises(StorageError, match="another index, embedder"):
        label(planted.index, labels.folder, seed=2)


def test_a_folder_of_the_users_is_refused_and_stays(planted: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        label(planted.index, tmp_path, seed=1)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_seed_decides_everything(planted: Any, labels: Labels, tmp_path: Path) -> None:
    again = label(planted.index, tmp_path / "labels", seed=1)
    assert list(map(str, again)) == list(map(str, labels))


def test_a_newer_version_is_named(labels: Labels, planted: Any, tmp_path: Path) -> None:
    copy = label(planted.index, tmp_path / "labels", seed=1).folder
    manifest = read_json(copy / "manifest.json")
    write_json(copy / "manifest.json", manifest | {"version": 7})
    with pytest.raises(StorageError, match="found version 7"):
        Labels.open(copy)


def test_features_that_fire_everywhere_get_no_score_and_say_why(
    planted: Any, tmp_path: Path
) -> None:
    """Nothing is left to score them on: that used to end the command, after all its work."""
    table = planted.index.tokens
    rows = np.flatnonzero(table.considered)
    rng = np.random.default_rng(0)
    values = rng.uniform(0.2, 1.0, (rows.size, 3)).astype(np.float32)
    values[rng.random(rows.size) < 0.06, 2] = 0
    values[7, 1] = 0
    index = write_index(
        tmp_path / "index",
        table,
        [(rows, np.tile(np.arange(3), (rows.size, 1)), values)],
        HeadInputs(torch.randn(3, 4), None, None),
    )
    labels = label(index, tmp_path / "labels")
    assert labels[0].text == "fires on every token"
    assert labels[1].text.startswith("fires on nearly every token")
    assert labels[0].kind == labels[1].kind == "everywhere"
    assert np.isnan(labels[0].auroc)
    dense = labels[2]  # silent on 6 %: enough to be told
    summary = labels.summary
    assert (summary["num_labelled"], summary["num_scored"], summary["kinds"]["everywhere"]) == (
        2,
        0,
        2,
    )
    assert (dense.name, summary["num_unclear"]) == (None, 1)
    assert summary["median_auroc"] is None
    assert Labels.open(labels.folder)[1].text == labels[1].text


def test_labels_of_nothing_but_features_that_fire_everywhere(planted: Any, tmp_path: Path) -> None:
    table = planted.index.tokens
    rows = np.flatnonzero(table.considered)
    index = write_index(
        tmp_path / "index",
        table,
        [(rows, np.zeros((rows.size, 1), np.int64), np.ones((rows.size, 1), np.float32))],
        HeadInputs(torch.randn(1, 4), None, None),
    )
    summary = label(index, tmp_path / "labels").summary
    assert summary["num_scored"] == 0
    assert summary["median_auroc"] is None


def test_search_over_several_dictionaries_puts_labels_first(planted: Any, labels: Labels) -> None:
    hits = search([Searched(planted.index, labels), Searched(planted.index)], "wi")
    assert hits[0].id == f"toy/{TOKEN}"
    assert hits[0].where[0] == "label"
    assert hits[0].score > hits[1].score
    found = search([Searched(planted.index, labels)], "numbers")
    assert found[0].feature == DIGIT
    assert search([Searched(planted.index, labels)], ",,") == []


def test_unclear_features_do_not_dilute_the_score(labels: Labels) -> None:
    named = [one.auroc for one in labels if one.name is not None]
    assert labels[RANDOM].name is None
    summary = labels.summary
    assert summary["median_auroc"] == pytest.approx(np.median(named), abs=1e-4)
    assert summary["fraction_above_shuffled"] == 1
    assert repr(labels).endswith("4 of 9 features labelled)")


class Spelled:
    """An embedder whose vectors are easy to foresee."""

    name, hash = "spelled", "0"

    def embed(self, texts: Any) -> Any:
        return np.eye(9, dtype=np.float32)[[len(text) % 9 for text in texts]]


def test_what_others_write_is_kept_with_its_vectors(tmp_path: Path) -> None:
    given = [
        Label(3, "US presidents", "concept", source="published:some", words=("Obama", "Reagan")),
        Label(5, "", "unclear", source="published:some"),
    ]
    found = write_labels(
        tmp_path / "labels",
        given,
        num_features=9,
        made_from={"published": "some"},
        embedder=Spelled(),  # type: ignore[arg-type]
    )
    assert found[3].words == ("Obama", "Reagan")
    assert np.isnan(found[3].auroc)
    assert found.embeddings is not None
    assert (found.embeddings.dtype, found.embeddings[0].argmax()) == (np.int8, 4)
    assert not found.embeddings[1].any()
    assert found.manifest["embedder"] == {"name": "spelled", "hash": "0"}
    assert found.search("president")[0][0] == 3
    assert found.summary["num_scored"] == 0


def test_an_interrupted_labeller_goes_on_where_it_was(
    planted: Any, labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inscape.labels.labeller.PART", 4)
    whole, asked = Labeller.part, []

    def stopped(self: Labeller, features: range) -> list[Label]:
        asked.append(features)
        if features.start == 4 and len(asked) == 2:
            raise KeyboardInterrupt
        return whole(self, features)

    monkeypatch.setattr(Labeller, "part", stopped)
    with pytest.raises(KeyboardInterrupt):
        label(planted.index, tmp_path / "labels", seed=1)
    assert not (tmp_path / "labels").exists()
    again = label(planted.index, tmp_path / "labels", seed=1)
    assert [part.start for part in asked] == [0, 4, 4, 8]
    assert [one.text for one in again] == [one.text for one in labels]
    assert [path.name for path in tmp_path.iterdir()] == ["labels"]


def test_parts_of_other_inputs_are_not_taken(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "labels", {"seed": 1})
    parts.write(0, [Label(0, "x", "word", words=("a", "b"))])
    (kept,) = Parts(tmp_path / "labels", {"seed": 1}).read(0) or []
    assert (kept.text, kept.words, np.isnan(kept.auroc)) == ("x", ("a", "b"), True)
    assert Parts(tmp_path / "labels", {"seed": 2}).read(0) is None


def of_meanings(tmp_path: Path) -> FeatureIndex:
    """A feature of birds, and one of texts about money."""
    rng = np.random.default_rng(0)
    birds, towns, other = ["wren", "goose"], ["Wren"], [f"x{n}" for n in range(30)]
    plain = [*other, "bank", "coins", "loan", *birds, *towns]
    documents, length = 120, 30
    ids = rng.integers(0, len(other), documents * length).astype(np.int32)
    of_birds = rng.random(ids.size) < 0.1
    ids[of_birds] = rng.integers(33, 35, int(of_birds.sum()))
    owners = np.repeat(np.arange(documents, dtype=np.int32), length)
    money = owners % 4 == 0
    scattered = money & (rng.random(ids.size) < 0.4) & ~of_birds
    ids[scattered] = rng.integers(30, 33, int(scattered.sum()))
    positions = np.tile(np.arange(length, dtype=np.int32), documents)
    table = TokenTable(
        ids, owners, positions, np.ones(ids.size, bool), {i: f" {w}" for i, w in enumerate(plain)}
    )
    rows = np.arange(ids.size)
    values = np.stack([np.isin(ids, [33, 34]), money], 1) * rng.uniform(0.2, 1, (ids.size, 2))
    return write_index(
        tmp_path / "index",
        table,
        [(rows, np.tile(np.arange(2), (rows.size, 1)), values.astype(np.float32))],
        HeadInputs(torch.randn(2, 8), None, None),
    )


def test_kinds_and_meanings_name_what_words_cannot(tmp_path: Path) -> None:
    vocabulary = Vocabulary.open(write_vocabulary(tmp_path / "dict"))
    found = label(
        of_meanings(tmp_path),
        tmp_path / "labels",
        embedder=WordEmbedder(),  # type: ignore[arg-type]
        vocabulary=vocabulary,
    )
    assert found[0].text in ("bird", "birds")
    assert (found[0].kind, set(found[0].words)) == ("concept", {"wren", "goose"})
    assert found[0].auroc > 0.97
    assert {"bank", "coins", "loan"} <= set(found[1].words)
    assert found.embeddings is not None
    assert not (tmp_path / ".labels.parts").exists()


@pytest.mark.parametrize(
    ("common", "name", "named"),
    [(True, "money", False), (True, "wren", True), (False, "money", True)],
)
def test_where_common_words_fire_no_meaning_is_the_name(
    common: bool, name: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But one that says a word which fires, as "wren"."""
    every = property(lambda words: np.full(len(words.texts), common))
    monkeypatch.setattr(Words, "common", every)
    index = of_meanings(tmp_path)
    labeller = Labeller(index, 0, 40, WordEmbedder(), None, tmp_path / "parts")  # type: ignore[arg-type]
    sample = labeller.explain.draw(index, 0, 40, np.random.default_rng(0))
    windows = Windows.read(labeller.corpus, sample, np.ones(sample.rows.size, bool))
    rule = Rule(name, "concept", (), "what it means", np.ones(64, np.float32) / 8, 1.0)
    made = labeller._with_words([rule], np.array([0.9]), windows)
    assert [one.text for one in made] == [name] * named


def test_common_words_are_the_most_frequent_and_what_is_no_word() -> None:
    ids = np.concatenate([np.zeros(50), np.arange(1, 221), [221] * 3]).astype(np.int32)
    texts = {i: f" w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(221)} | {221: " ,"}
    owners = np.zeros(ids.size, np.int32)
    table = TokenTable(ids, owners, np.arange(ids.size, dtype=np.int32), owners == 0, texts)
    words = Words(SimpleNamespace(tokens=table))  # type: ignore[arg-type]
    common = {words.texts[i].strip() for i in np.flatnonzero(words.common)}
    assert {"waa", ","} <= common
    assert len(common) == 3


def test_labels_are_found_by_what_they_mean(planted: Any, tmp_path: Path) -> None:
    given = [Label(2, "sea", "concept"), Label(4, "mountain", "word"), Label(5, "", "unclear")]
    made = write_labels(
        tmp_path / "labels",
        given,
        num_features=planted.index.num_features,
        made_from={},
        embedder=Spelled(),  # type: ignore[arg-type]
    )
    source = Searched(planted.index, made)
    (hit, *_) = search([source], "ice", embedder=Spelled())  # type: ignore[arg-type]
    assert (hit.feature, hit.where) == (2, ("label meaning",))
    assert hit.why == "its label means the like (1.00)"


def test_labels_shared_without_vectors_are_embedded_at_the_first_search(
    planted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSCAPE_CACHE", str(tmp_path / "cache"))
    given = [Label(2, "sea", "concept"), Label(4, "mountain", "word"), Label(5, "", "unclear")]
    num = planted.index.num_features
    made = write_labels(tmp_path / "labels", given, num_features=num, made_from={})
    assert made.embeddings is None
    source, embedder = Searched(planted.index, made), Spelled()
    for _ in range(2):
        (hit, *_) = search([source], "ice", embedder=embedder)  # type: ignore[arg-type]
        assert (hit.feature, hit.where) == (2, ("label meaning",))
        monkeypatch.setattr(Spelled, "embed", once(Spelled.embed))
    vectors = made.vectors(embedder)  # type: ignore[arg-type]
    assert vectors.any(1).tolist() == [True, True, False]


def once(embed: Any) -> Any:
    """An embedder that is asked for single texts alone from now on: the query."""

    def of_query(self: Any, texts: Any) -> Any:
        assert len(texts) == 1
        return embed(self, texts)

    return of_query
