"""Labels of planted features, honesty of their scores, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.features.made import write_index

from inscape.core import InputError, StorageError
from inscape.features.logits import HeadInputs
from inscape.labels import Label, Labels, Searched, label, search
from inscape.labels.labeller import _Draft, _Labeller
from inscape.labels.predicates import Clause, Predicate
from inscape.labels.store import write_labels
from inscape.labels.writing import Windows, balanced_accuracies
from inscape.storage import read_json, write_json

TOKEN, BIGRAM, RANDOM, CONTEXT, DOCUMENT, NEXT, RARE, DEAD, DIGIT = range(9)


@pytest.fixture(scope="module")
def labels(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> Labels:
    return label(planted.index, tmp_path_factory.mktemp("out") / "labels", seed=1)


@pytest.mark.parametrize(
    ("feature", "text", "kind"),
    [
        (TOKEN, '"wi"', "word"),
        (BIGRAM, '"wg" in "we wg"', "word"),
        (CONTEXT, 'shortly after "wk"', "word"),
        (DOCUMENT, 'in texts with "w}"', "word"),
        (NEXT, 'predicts "wm"', "prediction"),
        (DIGIT, "a number", "word"),
    ],
)
def test_planted_features_are_found(labels: Labels, feature: int, text: str, kind: str) -> None:
    found = labels[feature]
    assert (found.text, found.kind) == (text, kind)
    assert found.auroc > 0.97
    assert found.low <= found.auroc <= found.high
    assert found.shuffled < 0.75


def test_the_token_alone_does_not_pass_for_the_bigram(planted: Any, labels: Labels) -> None:
    """The matched negatives hold token 7 elsewhere: "fires on 7" is wrong on every one of them."""
    found = labels[BIGRAM]
    assert found.auroc_near > 0.95
    labeller = _Labeller(planted.index, 1, 100)
    draft = labeller.draft(BIGRAM)
    assert isinstance(draft, _Draft)
    token_alone = type(draft.predicate)(draft.predicate.clauses[:1])
    assert token_alone.clauses[0].attribute == "token"
    assert labeller.detect(token_alone, draft.sample.part(matched=True)).auroc < 0.6


def test_a_feature_without_a_pattern_has_no_name(labels: Labels) -> None:
    found = labels[RANDOM]
    assert (found.kind, found.text, found.name) == ("unclear", "", None)
    assert RANDOM not in {feature for feature, _ in labels.search("no clear pattern")}
    assert labels[TOKEN].name == labels[TOKEN].text == '"wi"'


def test_a_random_feature_scores_one_half(labels: Labels) -> None:
    assert labels[RANDOM].auroc == pytest.approx(0.5, abs=0.08)


class Fires:
    """Stands for an index in which the feature asked for fires on the given rows."""

    def __init__(self, rows: Any) -> None:
        self.rows = np.sort(rows).astype(np.int32)

    def rows_of(self, feature: int) -> Any:
        return self.rows, np.full(self.rows.size, 0.5, np.float32)

    def promoted_ids(self, feature: int) -> list[int]:
        return []


def test_noise_is_called_noise(planted: Any) -> None:
    """Over many random features: scores centre on one half, and most get no explanation."""
    labeller = _Labeller(planted.index, 1, 100)
    rng = np.random.default_rng(5)
    considered = np.flatnonzero(planted.index.tokens.considered)
    accuracies, explained = [], 0
    for feature in range(30):
        labeller.index = Fires(rng.choice(considered, 600, replace=False))  # type: ignore[assignment]
        draft = labeller.draft(feature)
        assert isinstance(draft, _Draft)
        explained += bool(draft.predicate.clauses)
        accuracies.append(labeller.detect(draft.predicate, draft.sample).auroc)
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.02)
    assert explained <= 6


def test_overfitted_explanations_of_noise_score_one_half(planted: Any) -> None:
    """Clauses forced on a random feature fit the windows they were chosen from, and no others."""
    labeller = _Labeller(planted.index, 1, 100)
    draft = labeller.draft(RANDOM)
    assert isinstance(draft, _Draft)
    rows, values = planted.index.rows_of(RANDOM)
    inside = labeller.explain.inside(rows, values)
    sample = labeller.explain.draw(rows, inside, 100, np.random.default_rng(0))
    windows = Windows.read(labeller.words, sample.rows, sample.positive)
    phrases = windows.values["phrase"][sample.positive].ravel()
    common = np.unique(phrases[phrases >= labeller.words._num_pairs])  # triples: mostly unique
    clause = Clause("phrase", tuple(common.tolist()), (1.0,) * common.size)
    fires, _ = Predicate((clause,)).score(windows.values, sample.rows.size)
    everywhere = np.ones(sample.rows.size, bool)
    assert balanced_accuracies(fires[None], sample.positive, everywhere)[0] > 0.7
    honest = labeller.detect(Predicate((clause,)), draft.sample).auroc
    assert honest == pytest.approx(0.5, abs=0.12)


def test_scoring_windows_lie_in_documents_the_writer_never_saw(planted: Any) -> None:
    labeller = _Labeller(planted.index, 1, 100)
    documents = planted.index.tokens.documents
    explained = set(documents[labeller.explain.rows])
    scored = set(documents[labeller.score.rows])
    assert not explained & scored
    assert abs(len(explained) - len(scored)) <= 1
    for feature in (TOKEN, BIGRAM, DIGIT):
        draft = labeller.draft(feature)
        assert isinstance(draft, _Draft)
        assert set(documents[draft.sample.rows]) <= scored
        assert np.array_equal(planted.planted[feature][draft.sample.rows], draft.sample.positive)
        assert np.unique(draft.sample.rows).size == draft.sample.rows.size


def test_the_writer_reads_the_explaining_half_only(planted: Any, tmp_path: Path) -> None:
    """Scrambling what the feature does in the scoring half changes no text, only the score."""
    index = planted.index
    plain = _Labeller(index, 1, 100)
    scrambled = _Labeller(index, 1, 100)
    rows = index.rows_of(BIGRAM)[0]
    moved = np.random.default_rng(0).choice(scrambled.score.rows, 80, replace=False)
    rows = np.concatenate([rows[scrambled.explain.member[rows]], moved])
    scrambled.index = Fires(rows)  # type: ignore[assignment]
    first, second = plain.draft(BIGRAM), scrambled.draft(BIGRAM)
    assert isinstance(first, _Draft)
    assert isinstance(second, _Draft)
    assert first.predicate.wording(plain.words) == second.predicate.wording(plain.words)
    assert scrambled.detect(second.predicate, second.sample).auroc < 0.6


def test_rare_and_dead_features_are_counted_not_labelled(labels: Labels) -> None:
    assert RARE not in labels
    assert DEAD not in labels
    assert labels.get(DEAD) is None
    summary = labels.summary
    assert (summary["num_dead"], summary["num_too_few_activations"]) == (1, 1)
    assert (summary["num_scored"], len(labels)) == (6, 7)
    assert (summary["num_labelled"], summary["num_unclear"]) == (6, 1)
    assert 0.4 < summary["median_shuffled"] < 0.6
    with pytest.raises(InputError, match="feature 7 has no label"):
        labels[DEAD]
    with pytest.raises(InputError, match="0 to 8"):
        labels[9]


def test_labels_come_back_from_disk(planted: Any, labels: Labels) -> None:
    again = Labels.open(labels.folder)
    assert list(map(str, again)) == list(map(str, labels))  # NaN is not itself
    assert again[TOKEN].text == '"wi"'
    table = pq.read_table(labels.folder / "labels.parquet")
    assert table.num_rows == 7
    clauses = json.loads(again[BIGRAM].rule)
    assert clauses[0]["attribute"] == "token"
    assert clauses[0]["values"] == [" wg"]


def test_the_same_call_returns_at_once_and_another_is_refused(planted: Any, labels: Labels) -> None:
    before = (labels.folder / "labels.parquet").stat().st_mtime_ns
    assert len(label(planted.index, labels.folder, seed=1)) == len(labels)
    assert (labels.folder / "labels.parquet").stat().st_mtime_ns == before
    with pytest.raises(StorageError, match="another index, seed"):
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
    dense = labels[2]  # silent on 6 %: enough to be scored on
    assert dense.num_negative >= 20
    assert dense.auroc == pytest.approx(0.5, abs=0.15)
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
    assert [hit.feature for hit in search([Searched(planted.index, labels)], "numbers")][:1] == [
        DIGIT
    ]
    assert search([Searched(planted.index, labels)], ",,") == []


def test_unclear_features_do_not_dilute_the_score(labels: Labels) -> None:
    named = [one.auroc for one in labels if one.name is not None]
    assert labels[RANDOM].name is None
    assert labels[RANDOM].auroc == pytest.approx(0.5, abs=0.1)
    summary = labels.summary
    assert summary["median_auroc"] == pytest.approx(np.median(named), abs=1e-4)
    assert summary["fraction_above_shuffled"] == 1
    assert repr(labels).endswith("6 of 9 features labelled)")


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
