"""From model, dictionary and store to an index: against plain encoding, and refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import D_MODEL, VOCAB_SIZE, tiny, tiny_tokenizer

from inscape.activations import ActivationStore, TextActivations, harvest
from inscape.core import InputError, SiteError, StorageError
from inscape.dictionary import Dictionary, DictionaryConfig, neurons
from inscape.features import Reference, build_index, build_indexes, search_prompt
from inscape.features.build import head_inputs
from inscape.features.logits import logit_effects
from inscape.features.prompts import fused
from inscape.features.thresholds import DENSE, thresholds
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
        torch.testing.assert_close(found, centred.topk(12).values, rtol=1e-3, atol=0)


def test_an_index_of_examples_only_says_what_the_rest_needs(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    toy, out = dictionary("resid_post.1", "resid_post.1"), tmp_path / "features/toy"
    few = build_index(model, toy, store, out, activations=False)
    assert not few.has_activations
    assert not list(out.glob("*.npy"))
    with pytest.raises(InputError, match=r"holds examples only.*run: inscape index .* --text TEXT"):
        few.rows_of(0)
    shown = [few.examples(f) for f in range(D_DICT)]
    assert build_index(model, toy, store, out, activations=False).hash == few.hash
    assert not (out / "values.npy").exists()  # it was there already
    whole = build_index(model, toy, store, out)  # in its place
    assert whole.has_activations
    assert whole.hash == few.hash
    assert [whole.examples(f) for f in range(D_DICT)] == shown
    assert build_index(model, toy, store, out, activations=False).has_activations


def test_ids_that_the_tokenizer_lacks_are_not_promoted() -> None:
    tokenizer = tiny_tokenizer()
    padded = Model.wrap(tiny("llama", vocab_size=400), tokenizer)
    assert int(padded.vocabulary_mask.sum()) == len(tokenizer) < 400
    toy = dictionary("resid_post.1", "resid_post.1")
    for site in ("resid_post.1", "final"):
        inputs = head_inputs(padded, dictionary(site, site))
        inputs = replace(inputs, decoder=toy.W_dec)
        effects = logit_effects(inputs, 400)
        assert effects.promoted.shape == (D_DICT, len(tokenizer))
        assert effects.promoted.max() == effects.suppressed.max() == len(tokenizer) - 1
        every = logit_effects(replace(inputs, named=None), 400)
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
    with pytest.raises(StorageError, match="made with another options"):
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


def lists(num: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, VOCAB_SIZE, size=rng.integers(2, 41)).tolist() for _ in range(num)]


def test_several_dictionaries_are_indexed_in_one_pass_over_a_text(
    model: Model, store: ActivationStore, tmp_path: Path
) -> None:
    """The same as from a store that holds the text's activations, without the store."""
    chosen = {
        "resid": dictionary("resid_post.1", "resid_post.1"),
        "mlp": dictionary("mlp_in.1", "mlp_out.1", seed=1),
    }
    passes = 0
    run = model.run

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal passes
        passes += len(args[0]) * ("read" in kwargs)
        return run(*args, **kwargs)

    folders = {tmp_path / name: d for name, d in chosen.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "run", counted)
        found = build_indexes(model, folders, lists(), context=16)
        assert passes == store.tokens().row.max() + 1
        assert [index.hash for index in build_indexes(model, folders, lists(), context=16)] == [
            index.hash for index in found
        ]
        assert passes == store.tokens().row.max() + 1  # finished ones are not read for again
    for index, (name, d) in zip(found, chosen.items(), strict=True):
        stored = build_index(model, d, store, tmp_path / f"{name}-stored")
        assert np.array_equal(index.tokens.ids, stored.tokens.ids)
        assert np.array_equal(index.tokens.considered, stored.tokens.considered)
        assert np.array_equal(index.num_active, stored.num_active)
        np.testing.assert_allclose(index.max, stored.max, rtol=1e-2)
        assert [index.promoted(f) for f in range(4)] == [stored.promoted(f) for f in range(4)]
    with pytest.raises(StorageError, match="another text"):
        build_indexes(model, folders, lists(39), context=16)


def test_a_stopped_pass_leaves_nothing_half_made(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = dictionary("resid_post.1", "resid_post.1"), dictionary("mlp_in.1", "mlp_out.1")
    stopped = InputError("stopped")
    monkeypatch.setattr(bad, "encode", lambda x, **_: (_ for _ in ()).throw(stopped))
    with pytest.raises(InputError, match="stopped"):
        build_indexes(model, {tmp_path / "a": good, tmp_path / "b": bad}, lists(), context=16)
    assert list(tmp_path.iterdir()) == []


def test_thresholds_are_quantiles_of_each_feature(model: Model, tmp_path: Path) -> None:
    toy = dictionary("mlp_in.1", "mlp_out.1", d_dict=12)
    text = TextActivations(model, lists(400), context=16)
    found = thresholds([toy], text)["toy"]
    parts = [
        toy.encode(acts["mlp_in.1"][torch.from_numpy(tokens.kept)].float()).dense(12)
        for tokens, acts in text.pieces(["mlp_in.1"])
    ]
    dense = torch.cat(parts)
    assert len(dense) > 4000
    over = (dense >= found).float().mean(0)
    assert (over - DENSE).abs().max() < 0.2 * DENSE  # the sample is the whole of so short a text


def test_a_cross_layer_transcoder_and_a_crosscoder_are_indexed(
    model: Model, tmp_path: Path
) -> None:
    sites = [("mlp_in.0", "mlp_in.1"), ("mlp_out.0", "mlp_out.1")]
    torch.manual_seed(0)
    for number, (reads, writes) in enumerate([sites, [("resid_post.0", "resid_post.1")] * 2]):
        config = DictionaryConfig(
            site_in="+".join(reads),
            site_out="+".join(writes),
            d_in=2 * D_MODEL,
            d_out=2 * D_MODEL,
            d_dict=16,
            k=K,
            widths=(D_MODEL, D_MODEL),
            subtract_b_dec=False,
        )
        weights = {name: torch.randn(shape) * 0.3 for name, shape in config.shapes().items()}
        several = Dictionary(config, weights, name="several")
        index = build_index(model, several, lists(), tmp_path / str(number), context=16)
        assert index.num_active.sum() > 0
        decoder = several.decoder_at(writes[1])
        if number == 0:
            decoder = decoder + several.decoder_at(writes[0])
        effect = (decoder * model.final_norm_weight()) @ model.unembedding().T
        best = (effect - effect.mean(1, keepdim=True)).topk(12).indices
        assert index.promoted_ids(3) == best[3].tolist()


def test_the_text_may_be_without_any_residual_site(model: Model) -> None:
    """Attention sinks show in the residual stream only: its norms are read for them."""
    text = TextActivations(model, lists(), context=16)
    table, acts = next(text.pieces(["mlp_in.1"]))
    assert set(acts) == {"mlp_in.1"}
    assert set(text.median_norms) == {"resid_pre.1"}
    assert len(table) == len(acts["mlp_in.1"])


def test_neurons_are_indexed_without_training(model: Model, tmp_path: Path) -> None:
    """Each sign by itself, the strongest hundredth of its activations, by thresholds on record."""
    made = neurons(model, 1)
    index = build_index(model, made, lists(400), tmp_path / "neurons", context=16)
    width = model.width("mlp_act.1")
    assert index.num_features == 2 * width
    assert 0.5 * DENSE < index.density.mean() < 2 * DENSE
    text = TextActivations(model, lists(400), context=16)
    parts = [
        acts["mlp_act.1"][torch.from_numpy(tokens.kept)]
        for tokens, acts in text.pieces(["mlp_act.1"])
    ]
    acts = torch.cat(parts).float()
    kept = np.flatnonzero(index.tokens.considered)
    for feature, values in ((5, acts[:, 5]), (width + 5, -acts[:, 5])):
        rows = index.rows_of(feature)[0]
        bound = index.table.column("threshold")[feature].as_py()
        assert np.array_equal(rows, kept[(values >= bound).numpy()])
        assert index.max[feature] == pytest.approx(float(values.max()), rel=1e-3)
        assert index.top(feature)[0].value == pytest.approx(float(values.max()), rel=1e-3)
    assert "strongest 1%" in index.manifest["indexed"]
    effect = (made.W_dec[width + 5] * model.final_norm_weight()) @ model.unembedding().T
    assert index.promoted_ids(width + 5) == effect.topk(12).indices.tolist()


def test_features_that_a_prompt_activates(model: Model) -> None:
    toy, prompt = dictionary("resid_post.1", "resid_post.1"), [1, 7, 30, 8]
    read = model.run(torch.tensor([prompt]), read=["resid_post.1"])["resid_post.1"]
    code = toy.encode(read[0, 1:]).dense(D_DICT)
    best = code.amax(0).numpy()
    highest, density = best * 2, np.full(D_DICT, 0.5, np.float32)
    feature = int(np.flatnonzero(best)[1])
    highest[feature], density[feature] = best[feature], 0.001
    found = search_prompt(model, {"toy": (toy, Reference(highest, density))}, prompt, 50)
    assert {hit.feature for hit in found} == set(np.flatnonzero(best).tolist())
    by = {hit.feature: hit for hit in found}
    assert by[feature].figures["share"] == 1
    assert by[feature].figures["density"] == pytest.approx(0.001)
    assert "0.10% of tokens" in by[feature].why
    # The effect is the derivative of the answer's log-probability along the feature's part.
    logits = model.run(torch.tensor([prompt]), logits="last").logits
    assert logits is not None
    answer = int(logits[0, -1].argmax())
    for hit in found[:5]:
        change = torch.zeros(1, 4, D_MODEL)
        change[0, 1:] = code[:, [hit.feature]] * toy.W_dec[hit.feature]
        sides = []
        for step in (1e-2, -1e-2):
            edits = {"resid_post.1": lambda x, part=step * change: x + part}
            run = model.run(torch.tensor([prompt]), edits=edits, logits="last")
            assert run.logits is not None
            sides.append(float(run.logits[0, -1].double().log_softmax(-1)[answer]))
        slope = (sides[0] - sides[1]) / 2e-2
        assert hit.figures["effect"] == pytest.approx(slope, abs=2e-3)
    effects = sorted((abs(hit.figures["effect"]) for hit in found), reverse=True)
    assert found[0].feature == feature or abs(found[0].figures["effect"]) in effects[:2]


def test_rankings_are_fused_by_places() -> None:
    assert fused([[3, 1, 3], [0, 9, 1]], 1).tolist() == [2 / 3, 2 / 3, 3 / 4]
