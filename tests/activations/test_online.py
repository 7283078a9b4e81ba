"""Activations made online: the same as a store's, complete, and able to start anywhere."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import VOCAB_SIZE, tiny

from inscape.activations import ActivationStore, OnlineActivations, harvest
from inscape.core import DataError, InputError, SiteError, Stopped
from inscape.model import Model
from inscape.training import TrainConfig, train

SITES = ["mlp_in.0", "mlp_out.0"]
CONTEXT = 21


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(tiny("llama"), name="tiny", bos="always")


@pytest.fixture(scope="module")
def corpus() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB_SIZE, size=int(n)).tolist() for n in rng.integers(5, 40, 40)]


@pytest.fixture(scope="module")
def store(
    model: Model, corpus: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> ActivationStore:
    out = tmp_path_factory.mktemp("online") / "store"
    return harvest(model, corpus, SITES, out, context=CONTEXT, shard_tokens=150)


def online(model: Model, corpus: list[list[int]], block_tokens: int = 150) -> OnlineActivations:
    memory = 2 * (block_tokens + CONTEXT) * 2 * model.d_model * len(SITES)
    made = OnlineActivations(model, corpus, SITES, context=CONTEXT, memory=memory)
    assert made.block_tokens == block_tokens
    return made


def same_rows(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the rows are the same in some order, to the rounding of bf16: passes of another shape
    may round otherwise."""
    found, wanted = torch.from_numpy(one), torch.from_numpy(other)
    near = 0.02 * wanted.norm(dim=1).mean()
    counts = [(torch.cdist(wanted, rows) < near).sum(1) for rows in (found, wanted)]
    return len(found) == len(wanted) and torch.equal(*counts)


@pytest.mark.parametrize("block_tokens", [60, 150, 5000])
def test_every_epoch_sees_every_token_once(
    model: Model, corpus: list[list[int]], store: ActivationStore, block_tokens: int
) -> None:
    kept = np.flatnonzero(store.tokens().flags == 0)
    for epochs in (1, 3):
        batches = list(
            online(model, corpus, block_tokens).batches(SITES, 64, seed=3, epochs=epochs)
        )
        assert all(len(batch[SITES[0]]) == 64 for batch in batches[:-1])
        for site in SITES:
            found = torch.cat([batch[site] for batch in batches]).numpy()
            # an attention sink's place is another token's: here there is none
            wanted = np.concatenate([store.read(site, kept)] * epochs)
            assert not np.array_equal(found, wanted)
            assert same_rows(found, wanted)


def test_sites_of_a_batch_are_of_the_same_tokens(
    model: Model, corpus: list[list[int]], store: ActivationStore
) -> None:
    batch = next(online(model, corpus).batches(SITES, 32, seed=3))
    inputs, outputs = (store.read(site) for site in SITES)
    for x, y in zip(batch[SITES[0]].numpy(), batch[SITES[1]].numpy(), strict=True):
        row = int(np.abs(inputs - x).sum(1).argmin())
        np.testing.assert_allclose(inputs[row], x, atol=0.02, rtol=0.02)
        np.testing.assert_allclose(outputs[row], y, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("block_tokens", [60, 150, 5000])
def test_batches_are_the_same_from_any_start(
    model: Model, corpus: list[list[int]], block_tokens: int
) -> None:
    wanted = list(islice(online(model, corpus, block_tokens).batches(SITES, 48, seed=5), 50))
    for start in (1, 7, 30, 44):  # the last ones are of the second and third epoch
        source = online(model, corpus, block_tokens)
        found = list(islice(source.batches(SITES, 48, seed=5, start=start), 50 - start))
        for one, other in zip(wanted[start:], found, strict=True):
            assert all(torch.equal(one[site], other[site]) for site in SITES)


def test_two_drawings_at_once_do_not_disturb_each_other(
    model: Model, corpus: list[list[int]]
) -> None:
    alone = list(islice(online(model, corpus).batches(SITES, 48, seed=5), 30))
    source = online(model, corpus)
    other = source.batches(SITES, 20, seed=6)
    for wanted, found in zip(alone, source.batches(SITES, 48, seed=5), strict=False):
        next(other)
        assert all(torch.equal(wanted[site], found[site]) for site in SITES)


def test_tokens_of_a_document_come_apart(model: Model) -> None:
    """Each document has its own token throughout: neighbours in a batch are rarely of one."""
    corpus = [[3 + i] * 20 for i in range(40)]
    source = OnlineActivations(
        model, corpus, ["embed"], context=CONTEXT, memory=2 * 2 * model.d_model * (210 + CONTEXT)
    )
    x = next(source.batches(["embed"], 400, seed=0))["embed"]
    same = (x[1:] == x[:-1]).all(1).float().mean()
    assert same < 0.2  # ten to twenty documents in a round; in order it would be 0.95


def test_statistics_are_those_of_a_store_where_one_block_holds_the_text(
    model: Model, corpus: list[list[int]], store: ActivationStore
) -> None:
    source = online(model, corpus, 5000)
    for site in SITES:
        wanted, found = store.site_stats(site), source.site_stats(site)
        assert found.count == wanted.count
        np.testing.assert_allclose(found.mean, wanted.mean, atol=1e-6)
        assert found.mean_norm == pytest.approx(wanted.mean_norm, rel=1e-6)
        assert found.variance == pytest.approx(wanted.variance, rel=1e-5)


def test_an_attention_sink_has_another_tokens_place(
    model: Model, corpus: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inscape.model.prompt.SINK_FACTOR", 1.1)  # some of them
    source, whole = online(model, corpus), online(model, corpus, 5000)
    block = whole._block(0)
    sinks = int((block.flags == 2).sum())
    assert 0 < sinks < block.kept.sum()
    count = sum(len(b[SITES[0]]) for b in source.batches(SITES, 64, seed=0, epochs=1))
    assert count == block.kept.sum() + sinks  # places follow from the text alone
    drawn = torch.cat([b[SITES[0]] for b in whole.batches(SITES, 64, seed=0, epochs=1)])
    counted = block.acts[SITES[0]][torch.from_numpy(block.kept)].float()
    known = {row.tobytes() for row in counted.numpy()}
    assert all(row.tobytes() in known for row in drawn.numpy())


def test_training_goes_on_to_the_same_bits(
    model: Model, corpus: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(d_dict=64, k=4, tokens=3200, batch_size=64, checkpoint_seconds=1e9)
    whole = train(online(model, corpus), *SITES, tmp_path / "whole", config, name="whole")
    from inscape.training.trainer import Trainer

    step = Trainer.step

    def interrupted(self: Trainer, *args: torch.Tensor) -> object:
        if self.num_steps == 23:
            raise KeyboardInterrupt
        return step(self, *args)

    config = config.model_copy(update={"checkpoint_seconds": 0.0})
    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises((KeyboardInterrupt, Stopped)):
        train(online(model, corpus), *SITES, tmp_path / "cut", config, name="cut")
    monkeypatch.setattr(Trainer, "step", step)
    resumed = train(online(model, corpus), *SITES, tmp_path / "cut", config, name="cut")
    for key, weight in whole.weights.items():
        assert torch.equal(weight, resumed.weights[key])


def test_what_cannot_be_read_is_refused(model: Model, corpus: list[list[int]]) -> None:
    with pytest.raises(InputError, match="100 bytes hold too few"):
        OnlineActivations(model, corpus, SITES, memory=100)
    with pytest.raises(InputError, match="no site"):
        OnlineActivations(model, corpus, [])
    with pytest.raises(SiteError, match=r"resid_post\.1"):
        next(online(model, corpus).batches(["resid_post.1"], 8, seed=0))
    with pytest.raises(DataError, match="empty"):
        next(online(model, [[3], []][1:] * 2).batches(SITES, 8, seed=0))
    with pytest.raises(DataError, match="does not exist"):
        next(OnlineActivations(model, "nowhere.txt", SITES).batches(SITES, 8, seed=0))


def test_a_part_of_each_batch_is_those_rows_of_it(model: Model, corpus: list[list[int]]) -> None:
    whole = islice(online(model, corpus).batches(SITES, 48, seed=5), 12)  # crosses rounds
    part = online(model, corpus).batches(SITES, 48, seed=5, part=slice(1, None, 3))
    for one, other in zip(whole, part, strict=False):
        assert all(torch.equal(one[site][1::3], other[site]) for site in SITES)
