"""Labels that others write, beside the offline ones: a language model, or a published file.

Both end in the same scores (texts.py), from documents that were not shown, so that they can be
compared with each other and with the offline labels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from inscape.core import InputError, ModelError, Share, warn
from inscape.features import FeatureIndex
from inscape.labels.answers import Answers, Limits
from inscape.labels.asking import (
    Asking,
    Estimate,
    answered,
    estimate,
    questions,
    read_prompt,
    warn_of,
)
from inscape.labels.embedder import Embedder
from inscape.labels.endpoint import Asked
from inscape.labels.published import Published
from inscape.labels.sampling import NUM_WINDOWS
from inscape.labels.store import KIND, VERSION, Label, Labels, write_labels
from inscape.labels.texts import explaining_documents, score_texts
from inscape.storage import MANIFEST, lock, plain, read_manifest

ANSWERS = "answers.jsonl"


def writer_of(by: Asked | Published) -> str:
    """What stands in labels as their source."""
    return f"published:{by.name}" if isinstance(by, Published) else f"llm:{by.name}"


def folder_name(dictionary: str, by: Asked | Published) -> str:
    """What the folder of a dictionary's labels by somebody else is called."""
    writer = re.sub(r"[^A-Za-z0-9_.-]+", "-", writer_of(by))[:100]
    return f"{dictionary}@{writer}"


def ask_for_texts(
    index: FeatureIndex,
    asked: Asked,
    folder: Path,
    *,
    seed: int = 0,
    prompt: Path | None = None,
    limits: Limits | None = None,
    before: Callable[[Estimate], bool] | None = None,
) -> tuple[dict[int, str], dict[str, Any]] | None:
    """Feature → label of all that the model has answered, and how that went.

    Args:
        folder: keeps the answers; one process at a time asks into it.
        prompt: a file in place of inscape's own.
        before: gets the estimate; where it returns False nothing is asked, and the result is None.

    Raises:
        InputError: no feature has enough examples to be asked about.
        ModelError: the endpoint cannot be reached, or refuses every question.
        StorageError: another process is asking, or an answer cannot be written.
    """
    limits = limits or Limits()
    documents = explaining_documents(index, seed).tolist()
    todo = questions(index, documents, asked.name, read_prompt(prompt), seed)
    if not todo:
        raise InputError(
            f"no feature of {index.dictionary} has examples in three documents or more",
            expected="an index of a longer text",
        )
    answers = Answers(folder / ANSWERS)
    if before is not None and not before(estimate(asked, todo, answers, limits)):
        return None
    with lock(folder):
        answers = Answers(folder / ANSWERS)
        report = Asking(asked, answers, limits).run(todo)
    warn_of(report)
    return answered(todo, answers), asdict(report)


def published_texts(index: FeatureIndex, published: Published) -> dict[int, str]:
    """Feature → explanation of those that are active here.

    Raises:
        InputError: one is of a feature that the dictionary does not have.
    """
    if (last := max(published.texts)) >= index.num_features:
        raise InputError(
            f"{published.name} explains feature {last} of {published.about or 'a dictionary'}",
            expected=f"those of {index.dictionary}, which has {index.num_features}",
            next_step="name the dictionary that they are of with --dictionary",
        )
    return {f: text for f, text in published.texts.items() if index.num_active[f]}


def write_texts(
    index: FeatureIndex,
    out: Path,
    texts: Mapping[int, str],
    by: Asked | Published,
    about: Mapping[str, Any],
    *,
    seed: int = 0,
) -> Labels:
    """Scores labels and writes them to the folder `out`, in place of former ones of the writer.

    Args:
        about: what labels.json says of them beside the scores.
    """
    embedder = _embedder()
    made_from = {
        "index": index.hash,
        "dictionary": index.dictionary,
        "source": writer_of(by),
        "texts": hashlib.blake2b(json.dumps(sorted(texts.items())).encode()).hexdigest()[:32],
        "num_windows": NUM_WINDOWS,
        "embedder": None if embedder is None else embedder.hash,
    }
    if (out / MANIFEST).is_file():
        found = read_manifest(out, KIND, VERSION)
        if found["made_from"] == made_from and found["seeds"] == {"labels": seed}:
            return Labels.open(out)
    place = out.parent / f".{out.name}.windows"
    labels = score_texts(index, texts, writer_of(by), embedder, place, seed=seed)
    alive = int(np.count_nonzero(index.num_active))
    tried = about["asked"]["num_questions"] if "asked" in about else alive
    counts = {
        "num_features": index.num_features,
        "num_dead": index.num_features - alive,
        "num_too_few_activations": alive - tried,
    }
    return write_labels(
        out,
        labels,
        num_features=index.num_features,
        made_from=made_from,
        seeds={"labels": seed},
        summary={**counts, **about},
        embedder=embedder,
        replace=True,
    )


def published_summary(published: Published) -> dict[str, Any]:
    """What labels.json says of a published file: how many explanations there were, and the median
    of the scores that came with them."""
    medians = {
        scorer: round(float(np.median(list(found.values()))), 4)
        for scorer, found in published.accuracy.items()
    }
    return {
        "published": {
            "about": published.about,
            "num_explanations": len(published.texts),
            "num_more": published.num_more,
            "median_balanced_accuracy": medians,
        }
    }


@dataclass(frozen=True)
class Compared:
    """The texts of two writers' labels side by side, by what each tells alone on the same windows
    (`Label.auroc_text`): the median of either over the features that both name, and on how many of
    those on which they differ the first tells more."""

    num_features: int
    first: float
    second: float
    better: Share

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found: dict[str, Any] = plain({**vars(self), "better": self.better.to_json()})
        return found


def compared(first: Labels, second: Labels) -> Compared | None:
    """How the texts of two writers compare; None where no feature of both is scored on the same
    windows, by the same embedder."""
    alike = ("index", "num_windows", "embedder")
    if first.manifest["seeds"] != second.manifest["seeds"] or any(
        first.manifest["made_from"].get(of) != second.manifest["made_from"].get(of) for of in alike
    ):
        return None

    def told(label: Label | None) -> float:
        return nan if label is None or label.name is None else label.auroc_text

    both = np.array([(told(one), told(second.get(one.feature))) for one in first]).reshape(-1, 2)
    both = both[np.isfinite(both).all(1)]
    if not len(both):
        return None
    differ = both[both[:, 0] != both[:, 1]]
    better = Share(int(np.count_nonzero(differ[:, 0] > differ[:, 1])), len(differ))
    medians = np.median(both, axis=0)
    return Compared(len(both), float(medians[0]), float(medians[1]), better)


def _embedder() -> Embedder | None:
    try:
        return Embedder.open()
    except ModelError as error:
        warn(f"the labels are not scored, and not found by meaning: {error}")
        return None
