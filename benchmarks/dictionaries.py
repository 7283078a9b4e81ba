"""Which width and layer make the best dictionary, and how well it finds the known concepts.

1. One harvest of the corpus that dictionaries learn from, at the residual stream of every layer.
2. A dictionary for each layer, width and sparsity, on activations as they are and whitened.
3. Each is matched to the benchmark's concepts. The best is chosen on the selection half: the
   greatest mean F1 of the best single feature over all concepts.
4. The chosen one is judged on the other half, beside its baselines.

Everything is kept beside the demos: what is finished is not done again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from benchmarks.measurement import Measurement, Run
from inscape.activations import harvest
from inscape.core import track
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.training import TrainConfig, train
from inscape_microworld import corpus, open_model, write_corpus
from inscape_microworld.benchmark import Benchmark, DictionaryFeatures, Row
from inscape_microworld.benchmark.matching import match_concepts
from inscape_microworld.benchmark.run import concepts, cross_form
from inscape_microworld.benchmark.scored import (
    BENCHMARK_SEED,
    benchmark_documents,
    encode,
    run_documents,
)

LAYERS = (1, 2)
EXPANSIONS = (16, 64)
SPARSITIES = (4, 8)
WHITENED = (False, True)
TRAIN_TOKENS = 1_500_000
NUM_DOCUMENTS = 40_000


def grid(model: Model, folder: Path, seed: int) -> Iterator[Dictionary]:
    """The dictionaries of every layer, width and sparsity, whitened and not."""
    text = folder / "corpus.jsonl"
    if not text.is_file():
        write_corpus(text, corpus(NUM_DOCUMENTS))
    sites = [f"resid_post.{layer}" for layer in LAYERS]
    store = harvest(model, text, sites, folder / "activations")
    settings = list(itertools.product(LAYERS, EXPANSIONS, SPARSITIES, WHITENED))
    for layer, expansion, k, whiten in track(settings, "dictionaries"):
        name = f"resid{layer}-x{expansion}-k{k}" + "-whitened" * whiten
        place = folder / "dictionaries" / name
        config = TrainConfig(
            d_dict=expansion * model.d_model, k=k, tokens=TRAIN_TOKENS, seed=seed, whiten=whiten
        )
        site = f"resid_post.{layer}"
        yield train(store, site, site, place, config, name=name)


@cache
def chosen(run: Run) -> tuple[Benchmark, dict[str, float]]:
    """The benchmark of the best dictionary of a seed, and every one's mean F1 on selection."""
    model = open_model()
    folder = run.folder.parent / f"grid-{run.seed}"
    made = list(grid(model, folder, run.seed))
    documents = benchmark_documents(seed=BENCHMARK_SEED + run.seed)
    sites = sorted({d.config.site_in for d in made})
    scored = run_documents(model, documents, sites, seed=run.seed)
    means = {}
    for dictionary in made:
        found = match_concepts(scored, encode(scored, DictionaryFeatures(dictionary)))
        means[dictionary.name] = sum(m.selection_f1 for m in found) / max(len(found), 1)
    best = max(made, key=lambda dictionary: means[dictionary.name])
    bench = Benchmark(model, DictionaryFeatures(best), best.d_dict, best.config.k, seed=run.seed)
    return bench, means


def best_concepts(run: Run) -> Row:
    """Concepts found by the best dictionary of the grid."""
    bench, means = chosen(run)
    row = concepts(bench)
    return replace(row, name="grid-concepts", detail={**row.detail, "selection F1": means})


def best_cross_form(run: Run) -> Row:
    """Forms of landmarks under the best dictionary of the grid."""
    return replace(cross_form(chosen(run)[0]), name="grid-crossform")


FIGURES: Mapping[str, Measurement] = {
    "grid-concepts": Measurement(best_concepts),
    "grid-crossform": Measurement(best_cross_form),
}
