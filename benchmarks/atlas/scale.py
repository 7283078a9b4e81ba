"""The index at scale: its pass beside the forward passes alone, and opening a very large one.

1. `atlas-pass`: SmolLM2 reads the corpus once for three dictionaries of 9,216 features (that of
   ../shared/data/smollm2-sae at three layers, TopK 40); its forward passes are timed by
   themselves. The index is made by a process of its own, whose memory the system tells.
2. `atlas-eight-bits`: what storing that dictionary in 8 bits changes, on the held-out text.
3. `atlas-opening`: an index of a million features and a thousand million activations is written to
   the disk without a model, then opened, paged and searched. It takes 8 GB and some minutes.
"""

from __future__ import annotations

import json
import os
import statistics as averages
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measurement import Absent, Measurement, Run
from inscape.activations import TextActivations
from inscape.cli.main import ENVIRONMENT
from inscape.core import track
from inscape.dictionary import Dictionary
from inscape.exchange import Asked, import_dictionary
from inscape.features import FeatureIndex, TokenTable
from inscape.features.examples import TOP, Columns
from inscape.features.index import KIND, VERSION
from inscape.features.logits import LogitEffects
from inscape.features.search import write_search
from inscape.features.sparse import allocate, histogram_edges
from inscape.features.tables import write_examples, write_features
from inscape.model import Model
from inscape.storage import atomic_folder, write_manifest
from inscape_microworld.benchmark import Check, Row

DATA = Path(__file__).parents[3] / "shared" / "data"
TOKENS = int(os.environ.get("INSCAPE_PASS_TOKENS", "2000000"))
LAYERS = (8, 14, 20)
FEATURES, ACTIVATIONS = 1_000_000, 1_000_000_000

WORKER = """
import json, resource, sys, time
from pathlib import Path
from benchmarks.atlas.scale import TOKENS, Timed, corpus, dictionaries, opened
from inscape.features import build_indexes
folder = Path(sys.argv[1])
model = opened()
chosen = dictionaries()
source = Timed(model, corpus(), max_tokens=TOKENS)
start = time.perf_counter()
build_indexes(model, {folder / d.name: d for d in chosen}, source)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(json.dumps({"seconds": seconds, "forward": source.seconds, "peak": peak}))
"""


class Timed(TextActivations):
    """A text that knows how many seconds its forward passes took."""

    seconds = 0.0

    def some_pieces(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """As of the class above; what is done with a piece is not counted."""
        pieces = super().some_pieces(*args, **kwargs)
        while True:
            start = time.perf_counter()
            piece = next(pieces, None)
            self.seconds += time.perf_counter() - start
            if piece is None:
                return
            yield piece


def opened() -> Model:
    """SmolLM2, as an index reads it."""
    return Model.open("smollm2", bos="<|endoftext|>")


def corpus() -> Path:
    """The text that is read."""
    return DATA / "corpus" / "train-00.jsonl.gz"


def dictionaries() -> list[Dictionary]:
    """Three dictionaries of 9,216 features, 40 of them active on each token."""
    given = import_dictionary(DATA / "smollm2-sae", Asked(site="resid_post.14"))
    made = []
    for layer in LAYERS:
        site = f"resid_post.{layer}"
        shape = {"kind": "topk", "k": 40, "site_in": site, "site_out": site}
        config = given.config.model_copy(update=shape)
        made.append(Dictionary(config, given.weights, name=site))
    return made


def one_pass(run: Run) -> Row:
    """Time and memory of an index of three dictionaries beside the forward passes."""
    if not corpus().is_file():
        raise Absent(f"{corpus()} is not there", expected="the data that lies beside the checkout")

    command = [sys.executable, "-c", WORKER, str(run.folder)]
    environment = {**ENVIRONMENT, **os.environ}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(
        "atlas-pass",
        f"index of {TOKENS:,} tokens, three dictionaries of 9,216 features",
        (
            Check("time beside the forward passes", found["seconds"] / found["forward"], "≤ 1.3"),
            Check("memory, GB", found["peak"], "≤ 3"),
        ),
        f"SmolLM2 to layer {max(LAYERS)}; the forward passes are timed within the same run",
        detail={"seconds": found["seconds"]},
    )


def eight_bits(run: Run) -> Row:
    """FVU and L0 of a dictionary as it is, and read back from 8 bits."""
    text = DATA / "corpus" / "heldout.jsonl.gz"
    if not text.is_file():
        raise Absent(f"{text} is not there", expected="the data that lies beside the checkout")
    given = import_dictionary(DATA / "smollm2-sae", Asked(site="resid_post.14"))
    given.save(run.folder / "small", dtype="int8")
    read = TextActivations(opened(), text, max_tokens=16384).pieces(given.reads)
    x = torch.cat([acts[given.reads[0]][torch.from_numpy(t.kept)] for t, acts in read]).float()

    def figures(dictionary: Dictionary) -> tuple[float, float]:
        code = dictionary.encode(x)
        error = (x - dictionary.decode(code, x)).square().sum() / (x - x.mean(0)).square().sum()
        return float(error), code.l0()

    (fvu, l0), (small_fvu, small_l0) = map(figures, (given, Dictionary.open(run.folder / "small")))
    size = sum(path.stat().st_size for path in (run.folder / "small").iterdir()) / 1e6
    return Row(
        "atlas-eight-bits",
        "a dictionary of 9,216 features stored in 8 bits, beside the same in 16",
        (
            Check("FVU, change", small_fvu - fvu, "≤ 0.001"),
            Check("L0, relative change", abs(small_l0 / l0 - 1), "≤ 0.01"),
            Check("MB", size, "≤ 11"),
        ),
        f"{len(x):,} tokens of the held-out text; FVU {fvu:.4f}, L0 {l0:.2f} before",
    )


def synthetic(
    folder: Path, num_features: int, num_activations: int, *, num_examples: int = 6, seed: int = 0
) -> Path:
    """An index that looks like one of a corpus, written to `folder`; every feature fires equally
    often."""
    rng = np.random.default_rng(seed)
    each = num_activations // num_features
    table = _text(rng, num_activations // 40)
    tokens = table.save(folder.parent)
    with atomic_folder(folder) as new:
        stride = (len(table) - 64) // each
        rows = np.arange(each, dtype=np.int32) * stride
        offset = rng.integers(0, stride, num_features).astype(np.int32)
        positions = allocate(new / "positions.npy", np.dtype(np.int32), each * num_features)
        values = allocate(new / "values.npy", np.dtype(np.float16), each * num_features)
        strength = np.linspace(4, 0.1, each).astype(np.float16)
        for first in range(0, num_features, 1000):
            part = offset[first : first + 1000, None] + rows
            positions[first * each : first * each + part.size] = part.ravel()
            values[first * each : first * each + part.size] = np.tile(strength, len(part))
        np.save(new / "indptr.npy", np.arange(num_features + 1, dtype=np.int64) * each)
        found = _examples(rng, num_features, len(table), num_examples)
        examples = write_examples(new, found, num_features, table.ids)
        one = np.ones(num_features, np.float32)
        figures = {
            "num_active": np.full(num_features, each),
            "density": one * each / len(table),
            "max": 4 * one + rng.random(num_features, np.float32),
            "mean_active": 2 * one,
            "histogram": rng.integers(0, 9, (num_features, 32)),
        }
        ids = rng.integers(0, VOCABULARY, (num_features, 12), np.int32)
        logits = rng.random((num_features, 12), np.float32)
        near = rng.integers(0, num_features, (num_features, 8), np.int32)
        scores = rng.random((num_features, 8), np.float32)
        offsets = np.arange(num_features + 1, dtype=np.int64) * 8
        together = near.ravel(), scores.ravel(), offsets
        effects = LogitEffects(ids, logits, ids, -logits)
        write_features(new, figures, effects, (near, scores), together, examples)
        made_from = {"dictionary": folder.name, "inputs": f"synthetic {seed}"}
        extra = {
            "num_features": num_features,
            "num_tokens": len(table),
            "num_considered": table.num_considered,
            "tokens": tokens,
            "histogram_edges": histogram_edges(5.0).tolist(),
        }
        write_search(new, FeatureIndex(new, {"made_from": made_from, **extra}).texts())
        write_manifest(new, KIND, VERSION, made_from=made_from, extra=extra)
    return folder


VOCABULARY, LENGTH = 50_000, 512


def _text(rng: np.random.Generator, num_tokens: int) -> TokenTable:
    letters = np.array(list("aeioubcdfglmnprst"))
    words = ["".join(rng.choice(letters, 6)) for _ in range(VOCABULARY)]
    ids = (VOCABULARY ** rng.random(num_tokens) - 1).astype(np.int32)  # frequent ones are few
    place = np.arange(num_tokens, dtype=np.int32)
    texts = {number: f" {word}" for number, word in enumerate(words)}
    return TokenTable(ids, place // LENGTH, place % LENGTH, place % LENGTH > 0, texts)


def _examples(
    rng: np.random.Generator, num_features: int, num_tokens: int, num: int
) -> Iterator[Columns]:
    around = 16
    window = np.zeros((num, around), np.float32)
    window[:, 8] = np.linspace(4, 3, num)
    for feature in track(range(num_features), "synthetic examples", unit="features"):
        start = rng.integers(0, num_tokens - around, num).astype(np.int32)
        yield {
            "feature": np.full(num, feature, np.int32),
            "quantile": np.full(num, TOP, np.int8),
            "row": start + 8,
            "start": start,
            "length": np.full(num, around, np.int32),
            "value": window[:, 8],
            "window": window.ravel(),
        }


def page(index: FeatureIndex, first: int) -> list[object]:
    """A list of twenty features with their figures and tokens, and all that is known of one."""
    shown: list[object] = [
        (feature, index.density[feature], index.max[feature], index.peak_tokens(feature))
        for feature in range(first, first + 20)
    ]
    known = (index.examples, index.promoted, index.neighbours, index.coactive)
    return [*shown, *(of(first) for of in known)]


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def opening(run: Run, num_features: int = FEATURES, num_activations: int = ACTIVATIONS) -> Row:
    """Seconds until a very large index is open, has shown a page, and has found a word."""
    folder = synthetic(run.folder / "features" / "synthetic", num_features, num_activations)
    FeatureIndex.open(folder)  # so that what is compared is not the disk
    opens, pages, searches, often = [], [], [], []
    rng = np.random.default_rng(run.seed)
    for _ in range(5):
        opens.append(timed(lambda: FeatureIndex.open(folder)))
        index = FeatureIndex.open(folder)
        first = int(rng.integers(0, num_features - 20))
        pages.append(timed(lambda index=index, first=first: page(index, first)))  # type: ignore[misc]
        texts = list(index.tokens.texts.values())
        words = [texts[int(VOCABULARY ** rng.random()) - 1] for _ in range(5)]
        often.append(timed(lambda index=index, w=texts[0]: index.search(w)))  # type: ignore[misc]
        searches += [timed(lambda index=index, w=w: index.search(w)) for w in words]  # type: ignore[misc]
    return Row(
        "atlas-opening",
        f"an index of {num_features:,} features and {num_activations:,} activations",
        (
            Check("opening, seconds", averages.median(opens), "≤ 0.5"),
            Check("first page, seconds", averages.median(pages), "≤ 0.05"),
            Check("a search, seconds", averages.median(searches), "≤ 0.2"),
            Check("a search for the most frequent word, seconds", averages.median(often), ""),
        ),
        "medians of 5 openings and pages and 25 searches for words frequent and rare; synthetic, "
        "the files in the memory of the system",
        seed=run.seed,
        detail={"slowest search": max(searches), "slowest page": max(pages)},
    )


FIGURES = {
    "atlas-pass": Measurement(one_pass, seeded=False),
    "atlas-eight-bits": Measurement(eight_bits, seeded=False),
    "atlas-opening": Measurement(opening, seeded=False),
}
