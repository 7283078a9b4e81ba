"""Labels of the atlas's features: how many there are, how well they tell, beside what others would
say, and how long they take.

All figures are of windows of documents that no label was written from. The atlas is the one that
the environment names, its middle dictionary; features are drawn at random.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.atlas.search import VARIABLE
from benchmarks.measurement import Absent, Measurement, Run
from inscape import Atlas
from inscape.core import InscapeError, seeded
from inscape.features import FeatureIndex
from inscape.labels import Embedder, Label, Vocabulary, label
from inscape.labels.details import Details, details
from inscape.labels.labeller import Draft, Labeller
from inscape.labels.rules import aurocs
from inscape.labels.sampling import NEAR, RANDOM, Sample
from inscape.labels.texts import with_texts
from inscape_microworld.benchmark import Check, Row

NUM_FEATURES = 400
NUM_WINDOWS = 100
TOP_TOKENS = 10  # of the list that labels are held against
FORMER = "5512789"  # the last commit with the labeller before this one
FORMER_PARTS = ("words", "predicates", "sampling", "writing")


@lru_cache(maxsize=2)
def _drafted(folder: Path, seed: int, neurons: bool) -> tuple[Labeller, list[Draft], list[Label]]:
    return drafted(_index(neurons), folder, seed, NUM_FEATURES)


def drafted(
    index: FeatureIndex, folder: Path, seed: int, num: int
) -> tuple[Labeller, list[Draft], list[Label]]:
    """Labels of `num` features drawn at random, written anew with all that helps."""
    labeller = Labeller(index, seed, NUM_WINDOWS, *helpers(), folder)
    rng = np.random.default_rng(seeded(seed, "benchmark", "labels"))
    features = [f for f in rng.permutation(index.num_features).tolist() if labeller.tellable(f)]
    drafts = [labeller.draft(f) for f in features[:num]]
    return labeller, drafts, finished(labeller, drafts)


def finished(labeller: Labeller, drafts: list[Draft]) -> list[Label]:
    """The labels of drafts, each beside the rule of another one."""
    rules = [draft.rule for draft in drafts if draft.rule is not None]
    others = iter(np.roll(np.arange(len(rules)), 1).tolist())
    labels = [labeller.finish(d, rules[next(others)] if d.rule else None) for d in drafts]
    if labeller.embedder is None or labeller.corpus.contexts is None:
        return labels
    return with_texts(
        labels,
        labeller.embedder,
        labeller.corpus.contexts,
        lambda feature: scored_on(labeller, feature),
    )


def helpers() -> tuple[Embedder, Vocabulary]:
    """What labels of meanings need."""
    try:
        return Embedder.open(), Vocabulary.open(os.environ.get("INSCAPE_WORDNET"))
    except InscapeError as error:
        raise Absent(str(error)) from error


def middle(names: list[str]) -> str:
    """Of dictionaries by layer, that in the middle."""
    return sorted(names, key=lambda name: int(name.split(".")[1]))[len(names) // 2]


def _index(neurons: bool = False) -> FeatureIndex:
    place = os.environ.get(VARIABLE)
    if place is None:
        raise Absent(f"{VARIABLE} names no atlas")
    atlas = Atlas.open(place)
    names = [n for n in atlas.indexed_names if n.startswith("mlp_act") == neurons]
    if not neurons:
        names = [n for n in names if n.startswith("resid_post")]
    if not names:
        raise Absent(f"{place} has no index of {'neurons' if neurons else 'the residual stream'}")
    return atlas.features(middle(names))


def median(values: list[float]) -> float:
    kept = [v for v in values if np.isfinite(v)]
    return float(np.median(kept)) if kept else float("nan")


def told(run: Run) -> Row:
    """The share of features with a name, and how well the names tell."""
    labeller, drafts, labels = _drafted(run.folder, run.seed, False)
    named = [one for one in labels if one.name]
    found = [details(labeller, d.feature, d.rule) for d in drafts if d.rule is not None]
    far, near, other = (
        median([getattr(x, name) for x in named]) for name in ("auroc", "auroc_near", "shuffled")
    )
    return Row(
        "atlas-labels",
        f"labels of {len(labels)} features, unseen documents",
        (
            Check("share with a name", len(named) / len(labels), "≥ 0.80"),
            Check("AUROC against random windows, median", far, "≥ 0.90"),
            Check("against near windows", near, "≥ 0.75"),
            Check("another feature's label, distance from 0.5", abs(other - 0.5), "≤ 0.03"),
        ),
        f"{labeller.index.dictionary}, {len(labels)} features, {NUM_WINDOWS} windows of each kind",
        detail={
            "kinds": dict(Counter(x.kind for x in labels)),
            "the text alone, median AUROC": median([x.auroc_text for x in named]),
            **_further(found),
        },
    )


def _further(found: list[Details]) -> dict[str, Any]:
    by_decile = np.array([one.sensitivity for one in found])
    intruder = np.array([one.intruder for one in found])
    return {
        "fuzzing, median AUROC": median([one.fuzzing for one in found]),
        "intruder found, chance taken off": np.nanmean(intruder),
        "specificity": median([one.specificity for one in found]),
        "sensitivity by decile of activation": np.round(np.nanmean(by_decile, 0), 3).tolist(),
    }


def beside(run: Run) -> Row:
    """On how many features a label tells better than the former labeller's, than the list of the
    tokens that fire most, and than both, on the same windows."""
    labeller, drafts, _ = _drafted(run.folder, run.seed, False)
    former = Former(labeller)
    means = []
    for draft in drafts:
        if draft.rule is None:
            continue
        sample = scored_on(labeller, draft.feature)
        own = labeller.corpus.scores_at([draft.rule], sample.rows)[0]
        scores = np.stack(
            [own, former.scores(draft.feature, sample), tokens(labeller, draft, sample)]
        )
        far, near = (aurocs(scores, sample.positive, sample.group == g) for g in (RANDOM, NEAR))
        means.append((far + near) / 2)
    own, *others = found = np.array(means).T  # ours, the former labeller's, the tokens'
    ahead = own - np.max(others, axis=0)
    return Row(
        "atlas-labels-beside",
        "labels beside the former ones and the list of tokens",
        (Check("better than both", float((ahead > 0).mean()), "≥ 0.70"),),
        f"{len(own)} named features, the same windows, AUROC against random and near ones",
        detail={
            "better than the former, than the tokens": [(own > one).mean() for one in others],
            "median AUROC of ours, the former, the tokens": np.median(found, 1).round(3).tolist(),
            "within 0.02 of the best of the others": (np.abs(ahead) <= 0.02).mean(),
            "behind it by more": (ahead < -0.02).mean(),
        },
    )


def scored_on(labeller: Labeller, feature: int) -> Sample:
    """The windows that a feature's label is scored on."""
    return labeller.score.scored(labeller.index, feature, labeller.num_windows, labeller.seed)


def tokens(labeller: Labeller, draft: Draft, sample: Sample) -> NDArray[np.float64]:
    """The list of the tokens that fire most as a label: a window scores how often its token did."""
    rng = np.random.default_rng(seeded(labeller.seed, "labels", draft.feature))
    written = labeller.explain.draw(labeller.index, draft.feature, labeller.num_windows, rng)
    ids = labeller.corpus.words.ids
    most = dict(Counter(ids[written.rows[written.positive]].tolist()).most_common(TOP_TOKENS))
    return np.array([most.get(token, 0) for token in ids[sample.rows].tolist()], np.float64)


class Former:
    """The labeller before this one, as it stands in the history of the repository."""

    def __init__(self, labeller: Labeller) -> None:
        self.labeller = labeller
        self.parts = {name: _former(name) for name in FORMER_PARTS}
        index, table = labeller.index, labeller.index.tokens
        self.words = self.parts["words"].Words(index)
        self.half = self.parts["sampling"].Half(table, labeller.explain.member)
        rng = np.random.default_rng(seeded(labeller.seed, "labels", "random rows"))
        self.writer = self.parts["writing"].Writer(self.words, self.half.random_rows(4096, rng))

    def scores(self, feature: int, sample: Sample) -> NDArray[np.float64]:
        """What its label scores on windows."""
        index, writing = self.labeller.index, self.parts["writing"]
        rows, values = index.rows_of(feature)
        rng = np.random.default_rng(seeded(self.labeller.seed, "labels", feature))
        drawn = self.half.draw(rows, self.half.inside(rows, values), 150, rng)
        windows = writing.Windows.read(self.words, drawn.rows, drawn.positive)
        owners = self.labeller.documents[drawn.rows].astype(np.int64)
        judged = ((owners * 2654435761 % (1 << 32)) >> 7) % 3 == 0
        predicate = self.writer.write(windows, judged, index.promoted_ids(feature))
        read = writing.read_for(self.words, predicate, sample.rows)
        scores: NDArray[np.float64] = predicate.score(read, sample.rows.size)[1]
        return scores


def _former(name: str) -> ModuleType:
    """A module of the former labeller; its imports of its own parts lead to these."""
    place = f"{FORMER}:src/inscape/labels/{name}.py"
    here = Path(__file__).parent
    done = subprocess.run(["git", "show", place], cwd=here, capture_output=True, text=True)
    if done.returncode:
        raise Absent(f"the history of the repository does not have {place}")
    module = ModuleType(f"former_{name}")
    sys.modules[module.__name__] = module
    text = done.stdout.replace("from inscape.labels.", "from former_").replace("cache=True, ", "")
    exec(compile(text, place, "exec"), module.__dict__)
    return module


def neurons(run: Run) -> Row:
    """The same labeller on neurons."""
    _, _, labels = _drafted(run.folder, run.seed, True)
    named = [one for one in labels if one.name]
    return Row(
        "atlas-labels-neurons",
        "the same of neurons, as a control",
        (
            Check("share with a name", len(named) / len(labels), ""),
            Check("AUROC against random windows, median", median([x.auroc for x in named]), ""),
        ),
        f"{len(labels)} neurons",
    )


def speed(run: Run) -> Row:
    """Minutes for all labels of a dictionary."""
    index = _index()
    embedder, vocabulary = helpers()
    began = time.monotonic()
    found = label(index, run.folder / "labels", embedder=embedder, vocabulary=vocabulary)
    minutes = (time.monotonic() - began) / 60
    return Row(
        "atlas-labels-time",
        f"labels of {index.num_features} features",
        (Check("minutes", minutes, "≤ 15"),),
        f"{len(found)} labels, {index.num_considered} tokens",
    )


FIGURES = {
    "atlas-labels": Measurement(told, seeded=False),
    "atlas-labels-beside": Measurement(beside, seeded=False),
    "atlas-labels-neurons": Measurement(neurons, seeded=False),
    "atlas-labels-time": Measurement(speed, seeded=False),
}
