"""Known truth: do labels name the concepts that the features of the microworld stand for?

1. Dictionaries of the bundled model (microworld-s) at three layers are trained on one stream of its
   text and indexed on another, in which the concepts of every token are known.
2. A concept is one of the truth as it stands; in one of its forms, such as a landmark by its name
   or in Spanish; or all the things of one table, such as dishes. Its best feature is chosen on the
   half of the documents that labels are written from. The features with an F1 of at least 0.9 on
   the other half are labelled like those of any index.
3. A label names the concept where both hold:
   - it tells where the concept is: executed on the half that it was not written from, its AUROC
     for the concept's mentions against all other tokens is at least TELLS, and its F1 at least half
     of the feature's own, at the threshold that is best on the half that it was written from;
   - it says what the concept is: its text has a word of the concept's name or of a thing that
     belongs to it, or one that is typical of its mentions (in one of twenty of them or up to eight
     tokens before, and ten times as often there as elsewhere).
   A feature's F1 is that of its best threshold, while labels speak of all its activity from a
   fifth of its maximum on; the features whose F1 holds from there on are counted by themselves too.
4. The control judges each feature by the label of a feature of another concept, in the same way.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.atlas.labels import NUM_WINDOWS, helpers
from benchmarks.measurement import Measurement, Run
from inscape.core import Share, seeded, track
from inscape.features import FeatureIndex, build_indexes
from inscape.labels import Embedder, Vocabulary, Words, document_halves
from inscape.labels.labeller import Labeller
from inscape.labels.sampling import CLEAR
from inscape.training import Job, TrainConfig, train_from_text
from inscape_microworld import corpus, open_model, token_truth
from inscape_microworld.benchmark import Check, Row
from inscape_microworld.benchmark.detection import best_threshold
from inscape_microworld.benchmark.matching import Tokens, concept_tokens, f1_score, match_concepts
from inscape_microworld.benchmark.scored import BENCHMARK_SEED, Scored, Sparse, benchmark_documents
from inscape_microworld.facts import ANIMALS, DISHES, LANDMARKS, PEOPLE
from inscape_microworld.truth import Truth

LAYERS = (0, 1, 2)
EXPANSION, K, TRAIN_TOKENS, NUM_DOCUMENTS = 32, 8, 1_500_000, 40_000
MIN_DOCUMENTS = 8  # of each half that mention a concept
KNOWN = 0.9  # F1
TELLS, PART = 0.9, 0.5  # AUROC; of the feature's own F1
BEFORE, MENTIONS, OFTENER = 8, 0.05, 10.0  # of typical words
SHOWN = 20
ROWS = 1 << 15  # of the index at a time
NOTHING = np.zeros(0, np.float32)
SAID_OF = frozenset("word words piece phrase ending beginning after before predicts texts".split())


@dataclass(frozen=True)
class Known:
    """A feature whose concepts are known, with their tokens, their words, and its own F1 for each;
    clear: whether that holds wherever it is clearly active."""

    dictionary: str
    feature: int
    concepts: dict[str, tuple[Tokens, frozenset[str], float]]
    clear: bool


@dataclass(frozen=True)
class Named:
    """A label: its text, and its scores on every token."""

    text: str
    scores: NDArray[np.float32]


def known_truth(run: Run) -> Row:
    """Features whose concept is known: the share of those whose label names it."""
    indexes, scored = made(run.folder / "known-truth", run.seed)
    known = [one for index in indexes for one in _known(index, scored)]
    checks, detail = [], {}
    for how, helped in {"with embedder and WordNet": helpers(), "without": (None, None)}.items():
        place = run.folder / "known-truth" / f"parts-{len(checks)}"
        labels = _labels(indexes, known, run.seed, place, *helped)
        named = [names(labels[i], one, scored) for i, one in enumerate(known)]
        control = [names(labels[_other(known, i)], one, scored) for i, one in enumerate(known)]
        share, of_others = (Share(sum(map(all, part)), len(known)) for part in (named, control))
        bars = ("≥ 0.8", "≤ 0.05") if not checks else ("", "")
        checks += [
            Check(f"{how}: the label names the concept", share.value, bars[0], share.interval),
            Check(f"{how}: that of another feature does", of_others.value, bars[1]),
        ]
        told, said = (np.mean([one[part] for one in named]) for part in (0, 1))
        clear = [all(held) for one, held in zip(known, named, strict=True) if one.clear]
        detail[how] = {
            "of features clear of other things": Share(sum(clear), len(clear)).to_json(),
            "unclear": sum(not label.text for label in labels) / len(labels),
            "tells where it is": float(told),
            "says what it is": float(said),
            "of another feature, tells and says": [
                float(np.mean([one[part] for one in control])) for part in (0, 1)
            ],
            "not named, the first": [
                f"{next(iter(one.concepts))}: {label.text or 'unclear'}"
                for one, label, held in zip(known, labels, named, strict=True)
                if not all(held)
            ][:SHOWN],
        }
    return Row(
        "atlas-known-truth",
        "microworld-s: labels of features whose concept is known (F1 ≥ 0.9) name it",
        tuple(checks),
        f"{len(known)} features of {len(indexes)} dictionaries, "
        f"{len({c for one in known for c in one.concepts})} concepts, "
        f"{scored.num_documents} documents, half of them judged",
        seed=run.seed,
        detail=detail,
    )


def made(folder: Path, seed: int) -> tuple[list[FeatureIndex], Scored]:
    """The indexes of the microworld's dictionaries, and the truth of their tokens."""
    model = open_model()
    shape = TrainConfig(d_dict=EXPANSION * model.d_model, k=K, tokens=TRAIN_TOKENS, seed=seed)
    sites = [f"resid_post.{layer}" for layer in LAYERS]
    jobs = [Job(site, site, folder / site, shape, name=site) for site in sites]
    trained = train_from_text(model, [d.text for d in corpus(NUM_DOCUMENTS)], jobs)
    documents = benchmark_documents(seed=BENCHMARK_SEED + seed)
    places = {folder / "features" / one.name: one for one in trained}
    indexes = build_indexes(model, places, [document.text for document in documents])
    ids, truth = token_truth(model.tokenizer, documents)
    table = indexes[0].tokens
    if not np.array_equal(np.concatenate(ids), table.ids):
        raise ValueError("the index does not have the tokens of the truth")
    # the half on which labels are written
    selection = document_halves(table.distinct, seeded(seed, "labels"))
    tokens, owners = np.asarray(table.ids, np.int64), np.asarray(table.documents)
    considered = np.asarray(table.considered)
    return indexes, Scored(tokens, owners, considered, selection, extended(truth), {})


def extended(truth: Truth) -> Truth:
    """The truth with the forms of concepts, and the things of a table, as concepts too."""
    groups: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64], list[str]]]]
    groups = defaultdict(list)
    tables = _tables()
    for concept in truth.concepts:
        forms = np.array(truth.forms[concept])
        for form in np.unique(forms[forms != ""]):
            part = forms == form
            found = (
                truth.spans[concept][part],
                truth.scopes[concept][part],
                [form] * int(part.sum()),
            )
            groups[f"{concept} ({form})"].append(found)
        if concept in tables:
            whole = truth.spans[concept], truth.scopes[concept], truth.forms[concept]
            groups[tables[concept]].append(whole)
    all_spans, all_scopes, all_forms = dict(truth.spans), dict(truth.scopes), dict(truth.forms)
    for name, parts in groups.items():
        ranges = np.concatenate([part[0] for part in parts])
        order = np.lexsort((ranges[:, 1], ranges[:, 0]))
        all_spans[name] = ranges[order]
        all_scopes[name] = np.concatenate([part[1] for part in parts])[order]
        flat = [form for part in parts for form in part[2]]
        all_forms[name] = [flat[place] for place in order]
    return Truth(truth.starts, truth.num_tokens, all_spans, all_scopes, all_forms)


def _tables() -> dict[str, str]:
    """Concept → the table that it is in."""
    tables = {"landmarks": [one.key for one in LANDMARKS]}
    tables |= {"animals": [a.name for a in ANIMALS], "dishes": [d.name for d in DISHES]}
    tables |= {"people": [one.name for one in PEOPLE]}
    return {key.lower().replace(" ", "_"): name for name, keys in tables.items() for key in keys}


def _known(index: FeatureIndex, scored: Scored) -> list[Known]:
    """The features of a dictionary whose concept is known."""
    sparse = Sparse(
        index.dictionary,
        np.asarray(index.indptr, np.int64),
        np.asarray(index.positions),
        np.asarray(index.values),
    )
    matches = match_concepts(scored, sparse, min_documents=MIN_DOCUMENTS)
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for match in sorted(matches, key=lambda match: -match.selection_f1):
        if match.f1 >= KNOWN:
            found[match.feature][match.concept] = match.f1
    typical = Typical(index, scored)
    known = []
    for feature, concepts in found.items():
        tokens = list(concept_tokens(scored, MIN_DOCUMENTS, list(concepts)))
        told = {t.concept: (t, typical.words(t.concept), concepts[t.concept]) for t in tokens}
        rows, values = index.rows_of(feature)
        fires = np.zeros(len(scored.tokens), np.bool_)
        fires[rows[values >= CLEAR * values.max()]] = True
        clear = any(f1_score(fires, t, ~scored.selection)[0] >= KNOWN for t in tokens)
        known.append(Known(index.dictionary, feature, told, clear))
    return known


class Typical:
    """The words of concepts, as `stem` leaves them."""

    def __init__(self, index: FeatureIndex, scored: Scored) -> None:
        words = Words(index)
        self.scored, self.first = scored, words.first
        self.texts, kind = np.unique(
            [stem(text.lower()) for text in words.texts], return_inverse=True
        )
        self.at = kind[words.type[words.word]]  # of every row, the number of its word
        self.total = np.bincount(self.at, minlength=len(self.texts))
        self.members: dict[str, list[str]] = defaultdict(list)
        for concept, name in _tables().items():
            self.members[name].append(concept)

    def words(self, concept: str) -> frozenset[str]:
        """Of its name, of what belongs to it, and those that are typical of its mentions."""
        plain = re.sub(r" \(.*", "", concept)
        named = {stem(word) for c in (plain, *self.members[plain]) for word in c.split("_")}
        spans = self.scored.truth.spans[concept]
        spans = spans[self.scored.selection[spans[:, 0]]]
        inside, mentions = np.zeros_like(self.total), np.zeros_like(self.total)
        for start, end in spans.tolist():
            found = self.at[max(start - BEFORE, int(self.first[start])) : end]
            np.add.at(inside, found, 1)
            mentions[np.unique(found)] += 1
        rate = inside / max(1, inside.sum())
        elsewhere = (self.total - inside).clip(0) / max(1, self.total.sum() - inside.sum())
        typical = (mentions >= MENTIONS * len(spans)) & (rate >= OFTENER * elsewhere) & (inside > 0)
        both = named | set(self.texts[typical].tolist())
        return frozenset(word for word in both if len(word) > 2 and word.isalpha())


def stem(word: str) -> str:
    """A word without the ending of the plural."""
    return re.sub(r"(?<=[sxz])es$|(?<=ch)es$|(?<=[a-rt-z])s$", "", word)


def _labels(
    indexes: Iterable[FeatureIndex],
    known: Iterable[Known],
    seed: int,
    place: Path,
    embedder: Embedder | None,
    vocabulary: Vocabulary | None,
) -> list[Named]:
    """The labels of features, made as those of any index, with their scores on every token."""
    found: list[Named] = []
    for index in indexes:
        labeller = Labeller(index, seed, NUM_WINDOWS, embedder, vocabulary, place)
        features = [one.feature for one in known if one.dictionary == index.dictionary]
        drafts = [labeller.draft(f) if labeller.tellable(f) else None for f in features]
        rules = [draft.rule for draft in drafts if draft is not None and draft.rule is not None]
        scores = np.empty((len(rules), len(index.tokens)), np.float32)
        for start in track(range(0, scores.shape[1], ROWS), "labels on every token", unit="parts"):
            rows = np.arange(start, min(start + ROWS, scores.shape[1]))
            scores[:, rows] = labeller.corpus.scores_at(rules, rows)
        each = iter(scores)
        for draft in drafts:
            rule = None if draft is None else draft.rule
            found.append(Named("", NOTHING) if rule is None else Named(rule.text, next(each)))
    return found


def names(label: Named, one: Known, scored: Scored) -> tuple[bool, bool]:
    """Whether a label tells where one of the feature's concepts is, and says what the same one is;
    of several the one for which most holds."""
    if not label.text:
        return False, False
    said = {stem(word) for word in re.findall(r"[^\W\d_]+", label.text.lower())} - SAID_OF
    found = [
        (_tells(label.scores, tokens, own, scored), bool(said & words))
        for tokens, words, own in one.concepts.values()
    ]
    return max(found, key=sum)


def _tells(scores: NDArray[np.float32], tokens: Tokens, own: float, scored: Scored) -> bool:
    half = scored.selection
    judged, positive = tokens.collapsed(scores, ~half)
    order = np.argsort(judged, kind="stable")
    distinct, place = np.unique(judged[order], return_inverse=True)
    below = np.bincount(place, ~positive[order], minlength=len(distinct))
    rank = np.cumsum(below) - below / 2
    auroc = rank[place][positive[order]].mean() / max(1, below.sum())
    chosen, there = tokens.collapsed(scores, half)
    threshold, _ = best_threshold(chosen, there, int(there.sum()))
    f1, _, _ = f1_score(scores >= threshold, tokens, ~half)
    return bool(auroc >= TELLS and f1 >= PART * own)


def _other(known: list[Known], place: int) -> int:
    """The next feature that has none of the concepts of this one."""
    own = known[place].concepts.keys()
    order = [*range(place + 1, len(known)), *range(place)]
    return next(i for i in order if not own & known[i].concepts.keys())


FIGURES = {"atlas-known-truth": Measurement(known_truth)}
