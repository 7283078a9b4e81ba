"""From model, dictionary and store to an index: against plain encoding, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import D_MODEL, VOCAB_SIZE, tiny, tiny_tokenizer

from inscape.activations import ActivationStore, harvest
from inscape.core import InputError, SiteError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.features import build_index
from inscape.features.build import head_inputs
from inscape.features.logits import logit_effects
from inscape.model import Model

D_DICT, K = 48, 4


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny", bos="always")


@pytest.fixture(scope="module")
def store(model: Model, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    rng = np.random.default_rng(0)
    lists = [rng.integers(3, VOCAB_SIZE, size=rng.integers(2, 41)).tolist() for _ in range(40)]
    folder = tmp_path_factory.mktemp("store") / "store"
    sites = ["resid_post.1", "mlp_in.1", "mlp_out.1"]
    return harvest(model, lists, sites, folder, context=16, batch_tokens=128, shard_tokens=300)


def dictionary(site_in: str, site_out: str, seed: int = 0, d_dict: int = D_DICT) -> Dictionary:
    torch.manual_seed(seed)
    config = DictionaryConfig(
        site_in=site_in,
        site_out=site_out,
        d_in=D_MODEL,
        d_out=D_MODEL,
        d_dict=d_dict,
        k=K,
        subtract_b_dec=site_in == site_out,
    )
    shapes = {
        "W_enc": (d_dict, D_MODEL),
        "b_enc": (d_dict,),
        "W_dec": (d_dict, D_MODEL),
        "b_dec": (D_MODEL,),
    }
    weights = {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}
    return Dictionary(config, weights, name="toy")


def test_the_index_holds_the_codes_of_the_tokens_that_count(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    toy = dictionary("resid_post.1", "resid_post.1")
    index = build_index(model, toy, store, tmp_path / "index", window=(3, 2))
    kept = np.flatnonzero(store.tokens().kept)
    dense = np.zeros((store.num_tokens, D_DICT), np.float32)
    dense[kept] = toy.encode(torch.from_numpy(store.read("resid_post.1", kept))).dense(D_DICT)
    assert index.num_considered == kept.size < store.num_tokens
    for feature in range(D_DICT):
        rows, values = index.rows_of(feature)
        assert np.array_equal(rows, np.flatnonzero(dense[:, feature]))
        np.testing.assert_allclose(values, dense[rows, feature], rtol=2e-3, atol=1e-4)
    table = store.tokens()
    for example in index.examples(int(index.num_active.argmax())):
        rows = np.arange(len(example.tokens)) + example.row - example.peak
        assert set(table.row[rows]) == {table.row[example.row]}  # as the model read them
        assert table.kept[rows].all()
        assert 1 <= len(rows) <= 6


def test_promoted_tokens_are_the_change_of_the_logits(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    """Against the model's own last norm and head: a small step along the decoder direction."""
    toy = dictionary("mlp_in.1", "mlp_out.1")  # a transcoder writes to the residual stream too
    index = build_index(model, toy, store, tmp_path / "index")
    head = model.structure.head
    norm = model.structure.final_norm
    stream = torch.zeros(D_MODEL)
    stream[0], stream[1] = 30.0, -30.0  # long and fixed: the denominator hardly moves
    for feature in (0, 11):
        direction = toy.W_dec[feature].clone()
        direction[:2] = 0
        with torch.no_grad():
            change = head(norm(stream + 0.01 * direction)) - head(norm(stream - 0.01 * direction))
        weight, unembedding = model.final_norm_weight(), model.unembedding()
        full = (toy.W_dec[feature] * weight) @ unembedding.T
        part = (direction * weight) @ unembedding.T
        cosine = torch.nn.functional.cosine_similarity(change, part, dim=0)
        assert cosine > 0.999  # the direction through norm and head is what the formula says
        centred = full - full.mean()
        assert index.promoted_ids(feature) == centred.topk(12).indices.tolist()
        found = torch.tensor([v for _, v in index.promoted(feature)])
        torch.testing.assert_close(found, centred.topk(12).values)


def test_ids_that_the_tokenizer_lacks_are_not_promoted() -> None:
    tokenizer = tiny_tokenizer()
    padded = Model.wrap(tiny("llama", vocab_size=400), tokenizer)
    assert int(padded.vocabulary_mask.sum()) == len(tokenizer) < 400
    toy = dictionary("resid_post.1", "resid_post.1")
    for site in ("resid_post.1", "final"):
        inputs = head_inputs(padded, dictionary(site, site))
        effects = logit_effects(
            toy.W_dec, inputs.norm_weight, padded.unembedding(), 400, inputs.named
        )
        assert effects.promoted.shape == (D_DICT, len(tokenizer))
        assert effects.promoted.max() == effects.suppressed.max() == len(tokenizer) - 1
        every = logit_effects(toy.W_dec, inputs.norm_weight, padded.unembedding(), 400)
        for found, wanted in zip(effects.promoted, every.promoted, strict=True):
            assert found.tolist() == [int(i) for i in wanted if i < len(tokenizer)]


def test_an_mlp_input_has_no_direct_path_to_the_logits(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    index = build_index(model, dictionary("mlp_in.1", "mlp_in.1"), store, tmp_path / "index")
    assert index.promoted(0) == index.suppressed(0) == []
    assert len(index.neighbours(0)) == 8


def test_the_same_call_returns_the_finished_index(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    toy, out = dictionary("resid_post.1", "resid_post.1"), tmp_path / "index"
    first = build_index(model, toy, store, out)
    before = (out / "manifest.json").stat().st_mtime_ns
    assert build_index(model, toy, store, out).hash == first.hash
    assert (out / "manifest.json").stat().st_mtime_ns == before
    other = dictionary("resid_post.1", "resid_post.1", seed=1)
    with pytest.raises(StorageError, match="made with another dictionary"):
        build_index(model, other, store, out)
    with pytest.raises(StorageError, match="made with other options"):
        build_index(model, toy, store, out, num_examples=3)
    build_index(model, toy, store, tmp_path / "again")
    for name in ("features.parquet", "examples.parquet", "values.npy"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_wrong_inputs_are_told_in_one_line(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    toy = dictionary("resid_post.1", "resid_post.1")
    with pytest.raises(SiteError, match=r"holds no activations at resid_post\.0"):
        build_index(model, dictionary("resid_post.0", "resid_post.0"), store, tmp_path / "a")
    other = Model.wrap(tiny("gpt2"), name="other", bos="always")
    with pytest.raises(InputError, match="another model than other"):
        build_index(other, toy, store, tmp_path / "a")
    with pytest.raises(InputError, match="num_examples"):
        build_index(model, toy, store, tmp_path / "a", num_examples=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="mine is there already"):
        build_index(model, toy, store, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]  # nothing half-made is left


def test_a_dictionary_that_never_fires_has_an_index(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    toy = dictionary("resid_post.1", "resid_post.1")
    toy.b_enc.fill_(-1e6)
    index = build_index(model, toy, store, tmp_path / "index")
    assert index.num_active.sum() == 0
    assert index.examples(0) == []
    assert index.rows_of(0)[0].size == 0
    assert index.search("x") == []
