"""What a real model thinks, on one page: SmolLM2 and the atlas of its concepts that comes with
inscape.

1. "Paella is a dish from the country of": the model says Italy. A diagnosis finds the features
   without which it says Spain, and compares with removing random ones.
2. That prompt and some others are shown token by token, with the concepts that are active.
3. Concepts are searched by name; what is found is tried on sentences that were written for it, and
   on others about things nearby.
4. The model goes on from the first prompt as it is, and with the features removed.

Where the atlas is not there, one is made: SmolLM2 writes a text, and the neurons of its middle
layer are indexed on that and named. The atlas itself is left as it is: the page has the results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import inscape
from inscape.atlas import Atlas, Concepts, Found
from inscape.core import InputError, progress, track, warn
from inscape.diagnosis import Diagnosis
from inscape.features import pool_texts
from inscape.intervention import SteerResult
from inscape.model import Model
from inscape.report.page import MADE
from inscape.report.topics import TOPICS, Topic
from inscape.storage import atomic_write, refuse_file, refuse_filled

MODEL = "smollm2"
SHIPPED = Path(inscape.__file__).parents[2] / "models" / "smollm2-atlas"
PAGE = "report.html"
PAELLA, CORRECT, WRONG = "Paella is a dish from the country of", " Spain", " Italy"
PROMPTS = (
    ("When Mary and John went to the store, John gave a drink to", " Mary"),
    ("Unagi is a dish from the country of", " Japan"),
    ("The Golden Gate Bridge is in the city of", " San Francisco"),
    ("2 + 3 = ", "5"),
)
"""Further prompts, each with its correct answer."""
OPENINGS = (
    "The city of|The recipe calls for|In biology, a cell|The president of|The bridge over|"
    "To sort a list in Python,|The doctor said that|Birds such as the"
).split("|")
ROWS, TOKENS = 24, 64  # of one opening together: large batches are several times faster
CANDIDATES = 12  # features found by name that are tried on sentences
ACTIVE = 0.1  # of its largest activation: then a feature counts as active in a sentence


@dataclass(frozen=True)
class Asked:
    """A prompt with its correct answer, and the probability of that."""

    concepts: Concepts
    correct: str
    probability: float


@dataclass(frozen=True)
class Tried:
    """A feature that was found by name: in how many sentences about the topic it is active, and in
    how many about things nearby."""

    found: Found
    about: int
    near: int


@dataclass(frozen=True)
class Searched:
    """A topic, and what a search for it found, in the order of the search."""

    topic: Topic
    tried: list[Tried]

    @property
    def ranked(self) -> list[Tried]:
        """Those that tell the topic best from what is near it first; of equals those that are
        active on more about it."""
        return sorted(self.tried, key=lambda one: (one.near - one.about, -one.about))

    @property
    def best(self) -> Tried | None:
        """The first of these."""
        return next(iter(self.ranked), None)


@dataclass(frozen=True)
class Demo:
    """What was found; page: where its page goes (see `write_demo`)."""

    atlas: Atlas = field(repr=False)
    diagnosis: Diagnosis
    asked: list[Asked]
    searches: list[Searched]
    steered: SteerResult
    page: Path


def demo(out: Path, *, atlas: Path | None = None, device: str | None = None) -> Demo:
    """What the page in the folder `out` is going to show.

    Args:
        atlas: an atlas of SmolLM2; default: the one of the repository, else one that is made of the
            model's neurons in `out`, which takes some minutes.

    Raises:
        InputError: something else lies in `out`, or the atlas is of another model.
    """
    refuse_filled(out, lambda there: (there / PAGE).is_file() or (there / "atlas").is_dir())
    refuse_file(out / PAGE, MADE)
    opened = _opened(out, atlas, device)
    stored = opened.dictionary_names or None  # None: the neurons of all layers
    found = opened.diagnose(PAELLA, CORRECT, wrong=WRONG, names=stored, num_random=50, save=False)
    alone = [one.name for one in found.for_wrong if one.repaired]
    known = stored or opened.indexed()
    removed = [one.dictionary for one in found.removed if one.dictionary in known]
    shown = removed[:1] or [_middle(opened, known)]
    asked = []
    for prompt, correct in track([(PAELLA, CORRECT), *PROMPTS], "reading prompts", unit="prompts"):
        also = [name for name in alone if name.startswith(f"{shown[0]}/")] * (prompt == PAELLA)
        read = opened.concepts(prompt, names=shown, removing=also, save=False)
        asked.append(Asked(read, correct, exp(opened.model.score(prompt, correct))))
    return Demo(
        opened,
        found,
        asked,
        [_searched(opened, topic) for topic in track(TOPICS, "searching", unit="topics")],
        opened.steer(PAELLA, found.repair or [], max_new_tokens=20, save=False),
        out / PAGE,
    )


def _opened(out: Path, given: Path | None, device: str | None) -> Atlas:
    """The atlas that is shown."""
    if given is None and not (SHIPPED / "atlas.json").is_file():
        return _of_neurons(out / "atlas", device)
    opened = Atlas.open(given or SHIPPED, device=device)
    _check_model(opened)
    return opened


def _check_model(atlas: Atlas) -> None:
    if atlas.record["model"]["source"] != MODEL:
        raise InputError(
            f"{atlas.path} is an atlas of {atlas.record['model']['name']}",
            expected=f"one of {MODEL}, which the demo's prompts are for",
            next_step=f"make a page of any atlas with: inscape report {atlas.path}",
        )


def _of_neurons(folder: Path, device: str | None) -> Atlas:
    """An atlas of the middle layer's neurons, which need no training; what is finished is kept."""
    warn(
        f"there is no atlas at {SHIPPED}, where a clone of the repository has one: the model's own "
        "neurons are indexed instead, on a text that it writes (some minutes; fewer concepts)"
    )
    if (folder / "atlas.json").is_file():
        atlas = Atlas.open(folder, device=device)
        _check_model(atlas)
    else:
        atlas = Atlas.create(folder, MODEL, device=device, bos="<|endoftext|>")
    layer = f"mlp_act.{(atlas.model.num_layers - 1) // 2}"
    if not atlas.is_indexed(layer):
        text = folder.parent / "text.txt"
        if not text.is_file():
            atomic_write(text, written(atlas.model).encode())
        atlas.index([layer], text=text)
    atlas.label([layer])
    return atlas


def written(model: Model) -> str:
    """Documents that the model writes from OPENINGS, sampled with fixed seeds."""
    documents = []
    with progress("writing texts", ROWS * len(OPENINGS), "texts") as bar:
        for seed, opening in enumerate(OPENINGS):
            tokens = model.prompt(opening).tokens.repeat(ROWS, 1)
            for row in model.generate(tokens, TOKENS, temperature=1.0, seed=seed):
                documents.append(" ".join(model.decode(row).split()))
            bar.advance(ROWS)
    return "\n\n".join(documents) + "\n"


def _middle(atlas: Atlas, names: Sequence[str]) -> str:
    """The dictionary that is nearest to the middle of the model."""
    half = (atlas.model.num_layers - 1) / 2

    def distance(name: str) -> float:
        layer = name.rpartition(".")[2]
        return abs(int(layer) - half) if layer.isdecimal() else half

    return min(names, key=distance)


def _searched(atlas: Atlas, topic: Topic) -> Searched:
    """The first features that a search finds, tried on sentences."""
    hits = atlas.search(topic.query, names=atlas.shown_names, limit=CANDIDATES)
    names = dict.fromkeys(hit.id.rpartition("/")[0] for hit in hits)
    dictionaries = [atlas.dictionary(name) for name in names]
    texts = [*topic.about, *topic.near]
    pooled = pool_texts(atlas.model, texts, dictionaries).dictionaries if hits else {}
    tried = []
    for hit in hits:
        name, _, number = hit.id.rpartition("/")
        feature = int(number)
        values = pooled[name].values("max", range(len(texts)), [feature])[:, 0]
        active = values >= ACTIVE * max(float(atlas.features(name).max[feature]), 1e-12)
        part = len(topic.about)
        tried.append(Tried(hit, int(active[:part].sum()), int(active[part:].sum())))
    return Searched(topic, tried)
