"""The offline labeller: labels of words, kinds and meanings, written and scored on different
documents.

1. The documents are cut into an explaining and a scoring half. The embedder, where there is one,
   reads the corpus once (contexts.py).
2. For each feature, windows are drawn from the explaining half (sampling.py). Rules are written
   from two thirds of its documents: on the words that fire (candidates.py), on the kinds of things
   that they are, and on what the windows mean (names.py).
3. The rule that best tells the feature's windows from random and from near ones, on the documents
   that it was written from and on the others, after a small price for length, is the label; below
   a threshold the feature is unclear.
4. Windows are drawn anew from the scoring half, which the writer never saw, and the label is scored
   on them, beside the label of another feature, and beside its text alone.
5. A feature that fires on too few tokens or documents of either half gets no label, and is
   counted as such. One that is silent on too few says that it fires everywhere, without a score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, StorageError, seeded, track
from inscape.features import FeatureIndex
from inscape.labels.admission import COVERED, Fired, admitted, holds
from inscape.labels.candidates import BROAD, Windows
from inscape.labels.contexts import unit
from inscape.labels.embedder import INSTALL, Embedder
from inscape.labels.ground import Ground
from inscape.labels.parts import Parts
from inscape.labels.rules import MIN_EVIDENCE, Clause, Rule, aurocs
from inscape.labels.sampling import NEAR, NUM_WINDOWS, RANDOM
from inscape.labels.scoring import bootstrap_weights, on_sample
from inscape.labels.store import KIND, VERSION, Label, Labels, write_labels
from inscape.labels.texts import with_texts
from inscape.labels.vocabulary import HOW, Vocabulary
from inscape.labels.wording import MOST_WORDS, in_texts, plain
from inscape.storage import MANIFEST, read_manifest, refuse_filled

MIN_POSITIVES = 8  # in each half, and as many tokens without the feature
MIN_DOCUMENTS = 3  # in each half
NUM_WORDS = 8  # that fire it, and that it promotes
NUM_DIRECTION = 60  # windows that a feature's direction is the mean of
NUM_NEAREST, NUM_FIRED, NUM_KINDS, NUM_COMBINED = 30, 3, 8, 3
NEARNESS = 0.3  # what it costs a name to be less near than the nearest one
PLAIN = 0.015  # what a name gains that is on our own list
LITERAL = 0.15  # what a name gains that says all words that fire, and in part one of a third on
PART = 512  # features that are kept together
JUDGED_PART = 3  # a third of the explaining documents judges candidates instead of making them
LEAST = 0.7  # mean AUROC against random and near windows on the explaining half, less its doubt
DOUBT = 1.5  # standard errors that a label's worth is lowered by: few documents make rare names fit
KIND_LIKENESS = 0.5  # weight of a kind's meaning beside its evidence
WRITTEN = 3  # windows that a label is written from, for each that it is scored on
NUM_ALONE, LEAST_ALONE = 5, 0.8  # names that are tried with the words that fire; their worth alone
NAME_PRICE = 0.02  # what a name must add to the words that fire
COMMON = 0.5  # of what fires: from here on a meaning is no name
MIN_KIND = 0.1  # of the windows that a kind must tell from random ones


@dataclass
class Draft:
    """A chosen rule, its worth on the explaining half, and the words that fired there."""

    feature: int
    rule: Rule | None
    worth: float
    words: tuple[str, ...]


_last: dict[tuple[object, ...], Ground] = {}  # the dictionaries of an atlas rest on one text


class Labeller:
    """Writes and scores the labels of one dictionary."""

    def __init__(
        self,
        index: FeatureIndex,
        seed: int,
        num_windows: int,
        embedder: Embedder | None,
        vocabulary: Vocabulary | None,
        parts: Path,
    ) -> None:
        self.index, self.seed, self.num_windows = index, seed, num_windows
        self.embedder = embedder
        inputs = (embedder and embedder.hash, vocabulary and vocabulary.hash)
        key = (index.tokens.hash, seed, *inputs)
        if key not in _last:
            ground = Ground.read(index, seed, embedder, vocabulary, parts / "contexts.npy")
            _last.clear()
            _last[key] = ground
        ground = _last[key]
        self.documents, self.corpus, self.names = ground.documents, ground.corpus, ground.names
        self.explain, self.score, self.writer = ground.explain, ground.score, ground.writer
        rng = np.random.default_rng(seeded(seed, "labels", "bootstrap"))
        self.weights = bootstrap_weights(4 * num_windows, rng)

    def tellable(self, feature: int) -> bool | None:
        """Whether there is enough to write from and to score on; None where it fires on nearly
        every token."""
        rows, _ = self.index.rows_of(feature)
        for half in (self.explain, self.score):
            inside = rows[half.member[rows]]
            owners = self.documents[inside]
            distinct = np.count_nonzero(owners[1:] != owners[:-1]) + bool(owners.size)
            if inside.size < MIN_POSITIVES or distinct < MIN_DOCUMENTS:
                return False
        silent = min(
            half.rows.size - np.count_nonzero(half.member[rows])
            for half in (self.explain, self.score)
        )
        return True if silent >= MIN_POSITIVES else None

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Where each feature's windows lie among the contexts, against random ones, [m, d]."""
        contexts = self.corpus.contexts
        assert contexts is not None
        usual = contexts.at(self.corpus.reference).mean(0)
        found = np.zeros((self.index.num_features, usual.size), np.float32)
        for feature in track(range(len(found)), "directions", unit="features"):
            rows, values = self.explain.inside(*self.index.rows_of(feature))
            if rows.size:
                strongest = np.argsort(-values, kind="stable")[: 4 * NUM_DIRECTION]
                chosen = strongest[:: max(1, strongest.size // NUM_DIRECTION)]
                found[feature] = contexts.at(rows[chosen].astype(np.int64)).mean(0) - usual
        return unit(found)

    @cached_property
    def _hubs(self) -> NDArray[np.float32]:
        assert self.names is not None
        alive = np.flatnonzero(self.directions.any(1))
        return self.names.hubs(self.directions[alive])

    def draft(self, feature: int) -> Draft:
        """Steps 2 and 3."""
        rng = np.random.default_rng(seeded(self.seed, "labels", feature))
        num = self.num_windows * WRITTEN
        sample = self.explain.draw(self.index, feature, num, rng)
        judged = _hashed(self.documents[sample.rows]) % JUDGED_PART == 0
        windows = Windows.read(self.corpus, sample, ~judged)
        fired = windows.values["word"][sample.positive, 0]
        counts = Counter(self.corpus.words.texts[t] for t in fired.tolist())
        words = tuple(word for word, _ in counts.most_common(NUM_WORDS))
        rules = list(self.writer.rules(windows, self.index.promoted_ids(feature)))
        meanings = self._of_meaning(feature, windows)
        if not rules and not meanings:
            return Draft(feature, None, 0.5, words)
        rules = [rule for rule in rules if holds(rule, windows)]
        phrases = self.names.phrases if self.names else frozenset[str]()
        meanings = admitted(meanings, windows, self.corpus, phrases)
        worth, alone = (self.worth(found, windows) for found in (rules, meanings))
        combined = self._combined([*rules, *meanings], np.concatenate([worth, alone]))
        combined += self._with_words(meanings, alone, windows)
        rules += combined
        worth = np.concatenate([worth, self.worth(combined, windows)])
        if not rules:
            return Draft(feature, None, 0.5, words)
        best = int(worth.argmax())
        documents = np.unique(self.documents[sample.rows[sample.positive]]).size
        rate = min(max(float(worth[best]), 0.5), 1.0)
        sure = float(worth[best]) - DOUBT * (rate * (1 - rate) / documents) ** 0.5
        return Draft(feature, rules[best] if sure >= LEAST else None, sure, words)

    def worth(self, rules: Sequence[Rule], windows: Windows) -> NDArray[np.float64]:
        """How well rules tell the windows, [rules]: both views are noisy, as the judged windows are
        few and the others were used for writing."""
        sample, contexts = windows.sample, self.corpus.contexts
        vectors = None if contexts is None else contexts.at(sample.rows)
        scores = self.corpus.scores(rules, windows.values, vectors)
        found = np.zeros(len(rules))
        for part in (windows.counted, ~windows.counted):
            positive = sample.positive & part
            for group in (RANDOM, NEAR):
                found += aurocs(scores, positive, (sample.group == group) & part) / 4
        return found - [rule.price for rule in rules]

    def _of_meaning(self, feature: int, windows: Windows) -> list[Rule]:
        """Rules on meaning, and on kinds with their meaning."""
        found, fired = [], Fired.read(windows, self.corpus)
        if self.names is not None:
            names, nearness = self.names, self.names.vectors @ self.directions[feature]
            nearness = nearness - self._hubs - names.prices
            nearest = np.argsort(-nearness)[:NUM_NEAREST].tolist()
            said = [names.place[w] for w in fired.most(NUM_FIRED) if w in names.place]
            for place in dict.fromkeys([*nearest, *said]):
                text, meaning, vector = names.at(place)
                price = NEARNESS * float(nearness[nearest[0]] - nearness[place])
                price -= PLAIN if place < names.num_own else 0.0
                price += BROAD * names.breadth[place]
                price -= _literal(fired.share(text))
                found.append(Rule(text, "concept", (), meaning, vector, 1.0, price))
        if self.corpus.kinds is not None:
            for clause in self._kinds(windows):
                text = self.corpus.text("kind", clause.values[0])
                price = BROAD * float(np.log1p(self.corpus.kinds.below[clause.values[0]]))
                price -= _literal(fired.share(text))
                rule = Rule(text, "concept", (clause,), price=price)
                place = None if self.names is None else self.names.of_kind.get(clause.values[0])
                if self.names is not None and place is not None:
                    _, meaning, vector = self.names.at(place)
                    price += NEARNESS * float(self.names.prices[place])
                    rule = Rule(text, "concept", (clause,), meaning, vector, KIND_LIKENESS, price)
                found.append(rule)
        return found

    def _with_words(
        self, rules: Sequence[Rule], alone: NDArray[np.float64], windows: Windows
    ) -> list[Rule]:
        """The best names that tell the windows by themselves, executed together with the words that
        fire most, which are shown beside a name: a name has to say something of its own. Where
        most of what fires are words such as "of", no meaning is their name."""
        fired = windows.values["word"][windows.sample.positive & windows.counted, 0]
        words, counts = np.unique(fired[fired >= 0], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:NUM_WORDS]
        most = most[counts[most] > 1]
        rate = counts[most] / max(1, fired.size)
        odds = np.log((rate + 1e-3) / (self.writer.background("word")[words[most]] + 1e-3))
        kept = odds > MIN_EVIDENCE
        values = tuple(map(int, words[most][kept])), tuple(map(float, odds[kept]))
        fires = (Clause("word", *values),) if kept.any() else ()
        order = [i for i in np.argsort(-alone, kind="stable") if alone[i] >= LEAST_ALONE]
        common = self.corpus.words.common[fired[fired >= 0]]
        if order and common.sum() >= COMMON * common.size:
            said = Fired.read(windows, self.corpus)
            order = [
                i for i in order if rules[i].vector is None or said.share(rules[i].text) >= COVERED
            ]
        return [
            replace(
                rules[i],
                clauses=rules[i].clauses + fires,
                price=rules[i].price + NAME_PRICE + (alone[order[0]] - alone[i]) / 2,
            )
            for i in order[:NUM_ALONE]
        ]

    def _kinds(self, windows: Windows) -> list[Clause]:
        """The kinds that tell the written windows best, each by itself."""
        values, sample = windows.values["kind"], windows.sample
        positive = sample.positive & windows.counted
        negative = (sample.group == RANDOM) & windows.counted
        fired = values[positive]
        kinds, counts = np.unique(fired[fired >= 0], return_counts=True)
        hits = counts / (len(fired) or 1)
        silent = np.sort(values[negative], axis=None)
        alarms = np.searchsorted(silent, kinds, "right") - np.searchsorted(silent, kinds, "left")
        rate = alarms / (int(negative.sum()) or 1)
        rate = np.maximum(rate, self.writer.background("kind")[kinds])
        best = np.argsort(rate - hits, kind="stable")[:NUM_KINDS]
        odds = np.log((hits + 0.01) / (rate + 0.01))
        return [
            Clause("kind", (int(kinds[i]),), (float(odds[i]),))
            for i in best.tolist()
            if hits[i] - rate[i] > MIN_KIND
        ]

    def _combined(self, rules: list[Rule], worth: NDArray[np.float64]) -> list[Rule]:
        """The best rule on words joined with the best on meaning: "bank" in texts about rivers."""
        order = np.argsort(-worth, kind="stable").tolist()
        words = [rules[i] for i in order if rules[i].kind == "word" and rules[i].clauses][:2]
        meanings = [rules[i] for i in order if rules[i].vector is not None and not rules[i].clauses]
        found = []
        for first in words:
            for second in meanings[:NUM_COMBINED]:
                text = in_texts(first.text, second.text, second.meaning)
                if len(text.split()) <= MOST_WORDS:
                    price = first.price + NAME_PRICE
                    meaning, vector = second.meaning, second.vector
                    found.append(Rule(text, "concept", first.clauses, meaning, vector, 1.0, price))
        return found

    def part(self, features: range) -> list[Label]:
        """The labels of some features."""
        labels, drafts = [], []
        for feature in track(features, f"labels of {self.index.dictionary}", unit="features"):
            enough = self.tellable(feature)
            if enough:
                drafts.append(self.draft(feature))
            elif enough is None:
                density = self.index.density[feature]
                how = "every token" if density == 1 else f"nearly every token ({density:.2%})"
                labels.append(Label(feature, f"fires on {how}", kind="everywhere"))
        rules = [draft.rule for draft in drafts if draft.rule is not None]
        # the next rule in a random ring: never the feature's own
        rng = np.random.default_rng(seeded(self.seed, "labels", "control", features.start))
        ring = rng.permutation(len(rules)).tolist()
        others = {id(rules[n]): rules[ring[i - 1]] for i, n in enumerate(ring)}
        found = [self.finish(d, others[id(d.rule)] if d.rule else None) for d in drafts]
        if self.embedder is not None and self.corpus.contexts is not None:
            scored = partial(self.score.scored, self.index, num=self.num_windows, seed=self.seed)
            found = with_texts(found, self.embedder, self.corpus.contexts, scored)
        labels += found
        return sorted(labels, key=lambda found: found.feature)

    def finish(self, draft: Draft, other: Rule | None) -> Label:
        """Step 4: the label of a draft, with another feature's rule as control."""
        predicts = tuple(token for token, _ in self.index.promoted(draft.feature)[:NUM_WORDS])
        rule = draft.rule
        if rule is None or other is None:
            return Label(draft.feature, "", "unclear", words=draft.words, predicts=predicts)
        sample = self.score.scored(self.index, draft.feature, self.num_windows, self.seed)
        own, control = self.corpus.scores_at([rule, other], sample.rows)
        documents, weights = self.documents, self.weights
        found = on_sample(own, sample, NEAR, documents, weights)
        near = on_sample(own, sample, RANDOM, documents, weights) if sample.count(NEAR) else None
        return Label(
            feature=draft.feature,
            text=plain(rule.text),
            kind=rule.kind,
            auroc=found.auroc,
            low=found.low,
            high=found.high,
            auroc_near=near.auroc if near else nan,
            shuffled=on_sample(control, sample, NEAR, documents, weights).auroc,
            num_positive=int(sample.positive.sum()),
            num_negative=sample.count(RANDOM),
            words=draft.words,
            predicts=predicts,
            rule=rule.to_json(self.corpus),
        )


def label(
    index: FeatureIndex,
    out: Path,
    *,
    embedder: Embedder | None = None,
    vocabulary: Vocabulary | None = None,
    seed: int = 0,
    num_windows: int = NUM_WINDOWS,
) -> Labels:
    """Label every feature of an index and write the labels to the folder `out`.

    Args:
        index: an open feature index; nothing else is read.
        out: labels of the same inputs that are already there are returned at once. What is
            finished stays in a hidden folder beside it until all is, so that the same call goes on.
        embedder, vocabulary: without them labels speak of words and predictions only.
        num_windows: positive, random and near windows, each, that a label is written from and
            scored on.

    Raises:
        InputError: the index rests on a single document, num_windows is too small, or `out` holds
            something else.
        StorageError: other labels are already at `out`, or the disk is full.
    """
    out = Path(out)
    if num_windows < 10:
        raise InputError(f"num_windows is {num_windows}", expected="at least 10")
    made_from = {
        "index": index.hash,
        "dictionary": index.dictionary,
        "num_windows": num_windows,
        "embedder": None if embedder is None else embedder.hash,
        "vocabulary": None if vocabulary is None else vocabulary.hash,
    }
    if (out / MANIFEST).is_file():
        found = read_manifest(out, KIND, VERSION)
        # labels that were made with more than there is now stay as good as they are
        same = {k: v for k, v in made_from.items() if v is not None}
        same_seed = found["seeds"] == {"labels": seed}
        if same_seed and same.items() <= found["made_from"].items():
            return Labels.open(out)
        raise StorageError(
            f"{out} holds labels of another index, embedder, vocabulary, seed or number of windows",
            next_step="remove that folder or choose another",
        )
    refuse_filled(out)
    if index.num_features:
        index.rows_of(0)  # an index of examples only says so before all the work
    parts = Parts(out, {"made_from": made_from, "seed": seed})
    labels: list[Label] = []
    labeller: Labeller | None = None
    for start in track(
        range(0, index.num_features, PART), f"labels of {index.dictionary}", unit="parts"
    ):
        made = parts.read(start)
        if made is None:
            if labeller is None:
                labeller = Labeller(index, seed, num_windows, embedder, vocabulary, parts.folder)
            made = labeller.part(range(start, min(start + PART, index.num_features)))
            parts.write(start, made)
        labels += made
    written = write_labels(
        out,
        labels,
        num_features=index.num_features,
        made_from=made_from,
        seeds={"labels": seed},
        summary=_summary(index, labels, embedder, vocabulary),
        embedder=embedder,
    )
    parts.remove()
    return written


def _literal(share: float) -> float:
    """What a name gains whose words are this share of what fires."""
    return LITERAL * max(0.0, 1.5 * share - 0.5)


def _hashed(documents: NDArray[np.int32]) -> NDArray[np.int64]:
    """A fixed scrambling of document numbers, independent of the halves."""
    return (documents.astype(np.int64) * 2654435761 % (1 << 32)) >> 7


def _summary(
    index: FeatureIndex,
    labels: list[Label],
    embedder: Embedder | None,
    vocabulary: Vocabulary | None,
) -> dict[str, Any]:
    """What labels.json says beside the scores."""
    alive = int(np.count_nonzero(index.num_active))
    needed = (("a sentence embedder", embedder, INSTALL), ("WordNet", vocabulary, HOW))
    return {
        "num_features": index.num_features,
        "num_dead": index.num_features - alive,
        "num_too_few_activations": alive - len(labels),
        "would_help": [f"{what}: {how}" for what, there, how in needed if there is None],
    }
