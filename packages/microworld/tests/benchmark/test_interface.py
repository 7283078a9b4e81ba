"""A dictionary of another library is scored as ours is with the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape_microworld import open_model
from inscape_microworld.benchmark.baselines import Neurons, baseline_systems, untrained
from inscape_microworld.benchmark.interface import (
    DictionaryFeatures,
    Entries,
    entries,
    signed_direction,
    signed_entries,
    written_site,
)
from inscape_microworld.benchmark.matching import match_concepts
from inscape_microworld.benchmark.scored import Scored, benchmark_documents, encode, run_documents
from inscape_microworld.benchmark.wordings import best_wordings

SITE, K = "resid_post.1", 8


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(device="cpu")


@pytest.fixture(scope="module")
def scored(model: Model) -> Scored:
    return run_documents(model, benchmark_documents(300), [SITE, "mlp_in.1"])


@pytest.fixture(scope="module")
def ours(scored: Scored) -> Dictionary:
    return untrained(scored, SITE, 96, K)


class Foreign:
    """A top-k autoencoder as SAELens 6 writes it: cfg.json and sae_weights.safetensors."""

    name, site = "untrained dictionary", SITE

    def __init__(self, folder: Path) -> None:
        self.k = json.loads((folder / "cfg.json").read_text())["k"]
        self.w = load_file(folder / "sae_weights.safetensors")
        self.num_features = self.w["W_dec"].shape[0]

    def encode(self, x: Tensor) -> Entries:
        hidden = (x - self.w["b_dec"]) @ self.w["W_enc"] + self.w["b_enc"]
        top = hidden.topk(self.k, dim=1)
        kept = torch.zeros_like(hidden).scatter(1, top.indices, top.values.relu())
        return entries(kept)

    def direction(self, feature: int) -> Tensor:
        return self.w["W_dec"][feature]


def test_a_dictionary_of_saelens_has_the_figures_of_ours(
    tmp_path: Path, ours: Dictionary, scored: Scored
) -> None:
    weights = {**ours.weights, "W_enc": ours.W_enc.T.contiguous()}
    save_file(weights, tmp_path / "sae_weights.safetensors")
    config = {
        "architecture": "topk",
        "d_in": 128,
        "d_sae": 96,
        "k": K,
        "apply_b_dec_to_input": True,
        "metadata": {"hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.0.0"},
    }
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    foreign = Foreign(tmp_path)
    both = [
        match_concepts(scored, encode(scored, one), min_documents=5)
        for one in (foreign, DictionaryFeatures(ours))
    ]
    assert both[0] == both[1]
    assert len(both[0]) >= 3
    assert torch.equal(foreign.direction(3), DictionaryFeatures(ours).direction(3))


def test_every_baseline_is_scored_alike(model: Model, scored: Scored) -> None:
    systems = baseline_systems(model, scored, SITE, 96, K)
    assert len({system.name for system in systems}) == 4
    for system in systems:
        sparse = encode(scored, system)
        assert sparse.num_features == system.num_features
        assert scored.considered[sparse.rows].all()
        assert (sparse.values > 0).all()
        assert system.direction(system.num_features - 1).shape == (model.d_model,)
        assert len(match_concepts(scored, sparse, min_documents=5)) >= 3


def test_neurons_write_what_the_mlp_writes(model: Model, scored: Scored) -> None:
    neurons = Neurons(model, 1)
    x = scored.site(neurons.site)[:6]
    rows, features, values = neurons.encode(x)
    total = torch.zeros(6, model.d_model)
    for row, feature, value in zip(rows, features, values, strict=True):
        total[row] += value * neurons.direction(int(feature))
    tokens = torch.from_numpy(scored.tokens[:6])[None]
    assert int(scored.documents[5]) == 0
    wanted = model.run(tokens, read=[written_site(neurons)])[written_site(neurons)][0]
    torch.testing.assert_close(total, wanted, atol=1e-4, rtol=1e-3)


def test_signed_units_are_two_features() -> None:
    values = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    rows, features, found = signed_entries(values)
    assert list(zip(rows.tolist(), features.tolist(), found.tolist(), strict=True)) == [
        (0, 0, 1.0),
        (0, 3, 2.0),
        (1, 1, 3.0),
    ]
    assert signed_direction(torch.eye(2), 3).tolist() == [0, -1]


def test_rows_are_in_the_order_of_the_truth(model: Model, scored: Scored) -> None:
    start, end = scored.truth.starts[7:9]
    run = model.run(torch.from_numpy(scored.tokens[start:end])[None], read=[SITE])
    torch.testing.assert_close(scored.site(SITE)[start:end], run[SITE][0], atol=1e-4, rtol=1e-4)
    assert not scored.considered[scored.truth.starts].any()
    assert scored.considered.sum() == len(scored.tokens) - scored.num_documents


def test_wordings_are_judged_on_the_other_half(model: Model, ours: Dictionary) -> None:
    halves = (
        (["Mary eats an apple.", "Tom has an apple."], ["Mary walks home.", "Tom went home."]),
        (["There is an apple here."], ["The road is long.", "It was cold."]),
    )
    found = best_wordings(model, [DictionaryFeatures(ours), Neurons(model, 1)], "fruit", halves)
    assert [m.system for m in found] == ["untrained dictionary", "neurons"]
    for one in found:
        assert one.selection_auroc == 1
        assert 0 <= one.auroc <= 1
        assert (one.num_positives, one.num_negatives) == (1, 2)
