"""An indexed dictionary as the batches in which Neuronpedia exports and imports one.

OUT/MODEL/SOURCE/{model,source,sourceset,release}.jsonl
OUT/MODEL/SOURCE/{features,activations,explanations}/batch-N.jsonl.gz

1. A batch holds 1024 features, and the examples and labels of these; index is written as text.
2. The histogram is that of the index: its bins are half octaves, named by their middle.
3. An example has the bounds of its interval of strength; a top example has -1 for both.
4. A label is an explanation: typeName says what wrote it, explanationModelName which model.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from inscape.atlas.card import config_of
from inscape.atlas.container import Container
from inscape.core import track
from inscape.dictionary import DictionaryConfig, single_sites
from inscape.exchange.sites import hook_of
from inscape.features import Example, FeatureIndex
from inscape.labels import Labels
from inscape.storage import atomic_folder

BATCH = 1024
NUM_TOKENS = 10  # that a feature raises, and lowers, as its pages show
SET = "inscape"

Row = dict[str, Any]


def to_neuronpedia(
    atlas: Container, out: Path, names: Iterable[str] | None = None
) -> dict[str, Path]:
    """Writes the folder; returns dictionary → the folder of its source.

    Raises:
        InputError: a dictionary is not indexed, or `out` holds something.
    """
    chosen = atlas.indexed(atlas.indexed_names if names is None else names)
    model = _slug(atlas.record["model"]["name"])
    made = {}
    with atomic_folder(out) as folder:
        for name in chosen:
            config, index = config_of(atlas, name), atlas.features(name)
            source = source_id(name, config)
            made[name] = out / model / source
            _write_source(folder / model / source, atlas, model, source, index, config)
            _write_batches(
                folder / model / source, index, atlas.labels(name), model, source, config
            )
    return made


def source_id(name: str, config: DictionaryConfig) -> str:
    """What Neuronpedia calls a dictionary: its layer, then what it is."""
    site = single_sites(config.site_out)[0]
    kind, _, layer = site.rpartition(".")
    return f"{layer}-{_slug(name.removesuffix(f'.{layer}'))}-{SET}" if kind else _slug(name)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def _write_source(
    folder: Path,
    atlas: Container,
    model: str,
    source: str,
    index: FeatureIndex,
    config: DictionaryConfig,
) -> None:
    """The four files that say what the batches are of."""
    record, set_name = atlas.record["model"], source.partition("-")[2] or source
    now = datetime.now(UTC).isoformat()
    names = {
        "id": model,
        "displayName": record["name"],
        "displayNameShort": record["name"],
        "layers": record["num_layers"],
        "dimension": record["d_model"],
        "neuronsPerLayer": 0,
        "owner": "",
        "createdAt": now,
        "updatedAt": now,
    }
    about = {
        "id": source,
        "modelId": model,
        "setName": set_name,
        "hasDashboards": True,
        "num_prompts": int(np.unique(np.asarray(index.tokens.documents)).size),
        "notes": f"inscape, {index.num_considered} tokens",
        "createdAt": now,
    }
    of_set = {
        "modelId": model,
        "name": set_name,
        "description": f"{config.site_in} of {record['name']}",
        "type": config.site_out.partition(".")[0],
        "creatorName": SET,
        "urls": [],
        "releaseName": SET,
        "createdAt": now,
    }
    release = {"name": SET, "description": "Made with inscape", "creatorName": SET, "urls": []}
    folder.mkdir(parents=True)
    for file, row in {
        "model": names,
        "source": about,
        "sourceset": of_set,
        "release": {**release, "createdAt": now},
    }.items():
        (folder / f"{file}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


def _write_batches(
    folder: Path,
    index: FeatureIndex,
    labels: Labels | None,
    model: str,
    source: str,
    config: DictionaryConfig,
) -> None:
    hook = hook_of(single_sites(config.site_out)[0]) or ""
    set_name = source.partition("-")[2] or source
    starts = range(0, index.num_features, BATCH)
    for number, start in enumerate(track(starts, f"writing {source}", unit="batches")):
        features = range(start, min(start + BATCH, index.num_features))
        named = [{"modelId": model, "layer": source, "index": str(f)} for f in features]
        rows = [
            {**of, **_feature(index, f), "sourceSetName": set_name, "hookName": hook}
            for of, f in zip(named, features, strict=True)
        ]
        _write(folder / "features" / f"batch-{number}.jsonl.gz", rows)
        rows = [
            {"id": _id(source, f, i), **of, **row}
            for of, f in zip(named, features, strict=True)
            for i, row in enumerate(_activations(index, f))
        ]
        _write(folder / "activations" / f"batch-{number}.jsonl.gz", rows)
        rows = [
            {"id": _id(source, f), **of, **row}
            for of, f in zip(named, features, strict=True)
            for row in _explanations(labels, f)
        ]
        _write(folder / "explanations" / f"batch-{number}.jsonl.gz", rows)


def _feature(index: FeatureIndex, feature: int) -> Row:
    edges = index.histogram_edges
    heights = index.histogram[feature].tolist()
    middles = np.sqrt(np.maximum(edges[:-1], 0) * edges[1:]).tolist()
    raised, lowered = index.promoted(feature), index.suppressed(feature)
    near = index.neighbours(feature)
    return {
        "maxActApprox": float(index.max[feature]),
        "frac_nonzero": float(index.density[feature]),
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": middles,
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "pos_str": [token for token, _ in raised[:NUM_TOKENS]],
        "pos_values": [value for _, value in raised[:NUM_TOKENS]],
        "neg_str": [token for token, _ in lowered[:NUM_TOKENS]],
        "neg_values": [value for _, value in lowered[:NUM_TOKENS]],
        "neuron_alignment_indices": [],
        "neuron_alignment_values": [],
        "neuron_alignment_l1": [],
        "correlated_neurons_indices": [],
        "correlated_neurons_pearson": [],
        "correlated_neurons_l1": [],
        "topkCosSimIndices": [other for other, _ in near],
        "topkCosSimValues": [cosine for _, cosine in near],
        "decoder_weights_dist": [],
        "vector": [],
        "vectorLabel": None,
        "hasVector": False,
    }


def _activations(index: FeatureIndex, feature: int) -> Iterator[Row]:
    examples = index.examples(feature)
    per_interval = _shares(index, feature)
    width = float(index.max[feature]) / len(per_interval)
    for example in examples:
        row = _activation(example)
        if example.quantile is None:
            yield {**row, "binMin": -1.0, "binMax": -1.0, "binContains": -1.0}
        else:
            low, share = example.quantile * width, per_interval[example.quantile]
            yield {**row, "binMin": low, "binMax": low + width, "binContains": share}


def _shares(index: FeatureIndex, feature: int) -> list[float | None]:
    """The share of a feature's activations that lie in each interval of strength; None where the
    index holds examples only."""
    num = int(index.manifest["num_quantiles"])
    values = index.rows_of(feature)[1] if index.has_activations else np.zeros(0, np.float32)
    if not values.size:
        return [None] * num
    scaled = (values * np.float32(num / values.max())).astype(int)
    counts = np.bincount(np.minimum(scaled, num - 1), minlength=num)
    shares: list[float | None] = (counts / values.size).tolist()
    return shares


def _activation(example: Example) -> Row:
    values = [float(value) for value in example.values]
    return {
        "tokens": list(example.tokens),
        "values": values,
        "maxValue": max(values),
        "maxValueTokenIndex": int(np.argmax(values)),
        "minValue": min(values),
        "dataSource": None,
        "dfaValues": [],
        "dfaMaxValue": None,
        "dfaTargetIndex": None,
    }


def _explanations(labels: Labels | None, feature: int) -> list[Row]:
    label = None if labels is None else labels.get(feature)
    if label is None or not label.name:
        return []
    kind, _, writer = label.source.partition(":")
    return [
        {
            "authorId": None,
            "description": label.name,
            "embedding": None,
            "typeName": f"{SET}-{kind}",
            "explanationModelName": writer or None,
            "umap_x": 0,
            "umap_y": 0,
            "umap_cluster": 0,
            "umap_log_feature_sparsity": 0,
        }
    ]


def _id(*parts: object) -> str:
    """An id that is the same in every export."""
    text = "/".join(map(str, parts))
    return "i" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    # without the time, so that the same content is the same file
    path.write_bytes(gzip.compress(text.encode(), compresslevel=6, mtime=0))
