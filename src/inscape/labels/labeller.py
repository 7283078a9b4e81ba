"""The offline labeller: labels from tokens and contexts, written and scored on different documents.

1. The documents are cut into an explaining and a scoring half.
2. For each feature, windows are drawn from the explaining half (sampling.py), and a predicate is
   written from them (writing.py): which tokens, after which words, in which texts, before what.
3. Windows are drawn anew from the scoring half, which the writer never saw, and the predicate is
   scored by detection on them (scoring.py); the label of another feature is the control.
4. A feature that fires on too few tokens or documents of either half gets no label, and is
   counted as such. One that is silent on too few says that it fires everywhere, without a score:
   there is nothing to tell its tokens from.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, StorageError, seeded, track
from inscape.features import FeatureIndex
from inscape.labels.predicates import Predicate
from inscape.labels.sampling import Half, Sample, document_halves
from inscape.labels.scoring import Score, bootstrap_weights, detection
from inscape.labels.store import KIND, VERSION, Label, Labels, write_labels
from inscape.labels.words import Words
from inscape.labels.writing import Windows, Writer, read_for
from inscape.storage import MANIFEST, read_manifest, refuse_filled

MIN_POSITIVES = 8  # in each half, and as many tokens without the feature
MIN_DOCUMENTS = 3  # in each half
NUM_WORDS = 8  # that fire it, and that it promotes
NUM_RANDOM = 4096  # random tokens for the rates of single words
JUDGED_PART = 3  # a third of the explaining documents judges candidates instead of making them


@dataclass
class _Draft:
    """A written predicate and the windows that it is scored on."""

    feature: int
    predicate: Predicate
    sample: Sample
    fired: NDArray[np.int32]  # the words that it fired on in the explaining half


class _Labeller:
    def __init__(self, index: FeatureIndex, seed: int, num_windows: int) -> None:
        table = index.tokens
        self.index, self.seed, self.num_windows = index, seed, num_windows
        self.documents = table.distinct
        considered = np.asarray(table.considered)
        explaining = document_halves(self.documents, seeded(seed, "labels"))
        self.explain = Half(table, explaining & considered)
        self.score = Half(table, ~explaining & considered)
        if not self.explain.rows.size or not self.score.rows.size:
            raise InputError(
                "the index rests on a single document",
                expected="at least two, one to write labels from and one to score them on",
            )
        self.words = Words(index)
        rng = np.random.default_rng(seeded(seed, "labels", "random rows"))
        self.writer = Writer(self.words, self.explain.random_rows(NUM_RANDOM, rng))
        self.weights = bootstrap_weights(4 * num_windows, rng)

    def draft(self, feature: int) -> _Draft | Label | None:
        """Steps 2 and 4 of one feature; a Label where there is nothing left to score."""
        rows, values = self.index.rows_of(feature)
        both = self.explain, self.score
        halves = [half.inside(rows, values) for half in both]
        for inside, _ in halves:
            if inside.size < MIN_POSITIVES:
                return None
            if _num_distinct(self.documents[inside]) < MIN_DOCUMENTS:
                return None
        silent = [
            half.rows.size - inside[0].size for half, inside in zip(both, halves, strict=True)
        ]
        if min(silent) < MIN_POSITIVES:
            density = rows.size / self.index.num_considered
            how = "every token" if density == 1 else f"nearly every token ({density:.2%})"
            return Label(feature, f"fires on {how}", kind="everywhere")
        rng = np.random.default_rng(seeded(self.seed, "labels", feature))
        sample = self.explain.draw(rows, halves[0], self.num_windows * 3 // 2, rng)
        windows = Windows.read(self.words, sample.rows, sample.positive)
        judged = _hashed(self.documents[sample.rows]) % JUDGED_PART == 0
        promoted = self.index.promoted_ids(feature)
        predicate = self.writer.write(windows, judged, promoted)
        scored = self.score.draw(rows, halves[1], self.num_windows, rng)
        fired = windows.values["word"][windows.positive, 0]
        return _Draft(feature, predicate, scored, fired)

    def detect(self, predicate: Predicate, sample: Sample) -> Score:
        """Step 3: score a predicate on windows."""
        values = read_for(self.words, predicate, sample.rows)
        _, score = predicate.score(values, sample.rows.size)
        return detection(score, sample.positive, self.documents[sample.rows], self.weights)

    def finish(self, draft: _Draft, other: Predicate) -> Label:
        """The label of a draft, with another feature's predicate as control."""
        sample = draft.sample
        far, near = sample.part(matched=False), sample.part(matched=True)
        score = self.detect(draft.predicate, far)
        counts = Counter(self.words.text("word", int(v)) for v in draft.fired.tolist())
        return Label(
            feature=draft.feature,
            text=draft.predicate.wording(self.words),
            kind=draft.predicate.kind,
            auroc=score.auroc,
            low=score.low,
            high=score.high,
            auroc_near=self.detect(draft.predicate, near).auroc if near.num_matched else nan,
            shuffled=self.detect(other, far).auroc,
            num_positive=int(sample.positive.sum()),
            num_negative=int(np.count_nonzero(~far.positive)),
            words=tuple(word for word, _ in counts.most_common(NUM_WORDS)),
            predicts=tuple(token for token, _ in self.index.promoted(draft.feature)[:NUM_WORDS]),
            rule=draft.predicate.to_json(self.words),
        )


def label(index: FeatureIndex, out: Path, *, seed: int = 0, num_windows: int = 100) -> Labels:
    """Label every feature of an index and write the labels to the folder `out`.

    Args:
        index: an open feature index; nothing else is read.
        out: labels of the same index, seed and size that are already there are returned at once.
        num_windows: positive and negative windows, each, that a label is scored on.

    Raises:
        InputError: the index rests on a single document, num_windows is too small, or `out` holds
            something else.
        StorageError: other labels are already at `out`, or the disk is full.
    """
    out = Path(out)
    if num_windows < 10:
        raise InputError(f"num_windows is {num_windows}", expected="at least 10")
    made_from = {"index": index.hash, "dictionary": index.dictionary, "num_windows": num_windows}
    if (out / MANIFEST).is_file():
        found = read_manifest(out, KIND, VERSION)
        if found["made_from"] == made_from and found["seeds"] == {"labels": seed}:
            return Labels.open(out)
        raise StorageError(
            f"{out} holds labels of another index, seed or number of windows",
            next_step="remove that folder or choose another",
        )
    refuse_filled(out)
    labeller = _Labeller(index, seed, num_windows)
    drafts: list[_Draft] = []
    labels: list[Label] = []
    for feature in track(range(index.num_features), "labels", unit="features"):
        draft = labeller.draft(feature)
        if isinstance(draft, Label):
            labels.append(draft)
        elif draft is not None:
            drafts.append(draft)
    # the next draft in a random ring: never the feature's own label
    ring = np.random.default_rng(seeded(seed, "labels", "control")).permutation(len(drafts))
    for place, number in enumerate(track(ring, "scoring labels", unit="features")):
        other = drafts[ring[(place + 1) % len(drafts)]].predicate
        labels.append(labeller.finish(drafts[number], other))
    labels.sort(key=lambda found: found.feature)
    return write_labels(
        out,
        labels,
        num_features=index.num_features,
        made_from=made_from,
        seeds={"labels": seed},
        summary=_summary(index, labels),
    )


def _num_distinct(ordered: NDArray[np.int32]) -> int:
    """How many different numbers an ordered array holds."""
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(ordered.size)


def _hashed(documents: NDArray[np.int32]) -> NDArray[np.int64]:
    """A fixed scrambling of document numbers, independent of the halves."""
    return (documents.astype(np.int64) * 2654435761 % (1 << 32)) >> 7


def _summary(index: FeatureIndex, labels: list[Label]) -> dict[str, Any]:
    """What labels.json says beside the scores."""
    alive = int(np.count_nonzero(index.num_active))
    return {
        "num_features": index.num_features,
        "num_dead": index.num_features - alive,
        "num_too_few_activations": alive - len(labels),
    }
