"""Stores of one text by two models, and a crosscoder of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families import tiny

from inscape.activations import ActivationStore, JoinedStores, harvest
from inscape.core import InputError, SiteError
from inscape.dictionary import joined
from inscape.model import Model
from inscape.training import TrainConfig, train


def documents(seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 90, (40,), generator=generator).tolist() for _ in range(40)]


def store(folder: Path, seed: int, text: int = 0) -> ActivationStore:
    torch.manual_seed(seed)
    model = Model.wrap(tiny("llama"), bos="always")
    return harvest(model, documents(text), ["resid_post.1"], folder, context=20)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> JoinedStores:
    folder = tmp_path_factory.mktemp("stores")
    return JoinedStores({"base": store(folder / "a", 0), "chat": store(folder / "b", 1)})


def test_batches_are_of_the_same_tokens_that_count_in_both(both: JoinedStores) -> None:
    base, chat = both.stores.values()
    assert both.sites == ["base:resid_post.1", "chat:resid_post.1"]
    counts = base.tokens().kept & chat.tokens().kept
    wanted = {tuple(row.tolist()) for row in base.read("resid_post.1", np.flatnonzero(counts))}
    seen = 0
    for batch in both.batches(both.sites, 64, seed=3, epochs=1):
        rows = [base.read("resid_post.1"), chat.read("resid_post.1")]
        for x, y in zip(*batch.values(), strict=True):
            assert tuple(x.tolist()) in wanted
            place = np.flatnonzero((rows[0] == x.numpy()).all(1))
            assert (rows[1][place] == y.numpy()).all(1).any()
            seen += 1
    assert seen == int(counts.sum())
    late = next(both.batches(both.sites, 64, seed=3, start=2))
    early = both.batches(both.sites, 64, seed=3)
    third = [next(early) for _ in range(3)][2]
    assert all(torch.equal(late[site], third[site]) for site in both.sites)


def test_a_crosscoder_of_two_models_is_trained(both: JoinedStores, tmp_path: Path) -> None:
    site = joined(both.sites)
    asked = TrainConfig(d_dict=128, k=8, tokens=40_000, batch_size=128, lr=5e-3)
    made = train(both, site, site, tmp_path / "d", asked, name="d")
    assert made.config.sites_in == ("base:resid_post.1", "chat:resid_post.1")
    assert set(made.made_from["activations"]) == {"base", "chat"}
    assert max(made.made_from["figures"]["site_fvu"].values()) < 0.9
    assert made.site_norms().shape == (128, 2)


def test_stores_that_do_not_fit_are_refused(both: JoinedStores, tmp_path: Path) -> None:
    base = both.stores["base"]
    other = store(tmp_path / "c", 0, text=1)
    with pytest.raises(InputError, match="base and chat hold different tokens"):
        JoinedStores({"base": base, "chat": other})
    with pytest.raises(InputError, match="1 stores to join"):
        JoinedStores({"base": base})
    with pytest.raises(InputError, match="without : and"):
        JoinedStores({"a:b": base, "c": base})
    with pytest.raises(SiteError, match=r"base:resid_post\.1, chat"):
        both.width("resid_post.1")
