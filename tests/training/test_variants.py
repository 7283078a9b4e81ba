"""Every variant: what it reaches, what is folded into the finished dictionary, what it refuses."""

from __future__ import annotations

import os
import signal
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import MLP, RESID, fvu, linear_fvu

from inscape.core import ConfigError, InputError, Stopped
from inscape.dictionary import Dictionary, RaggedCode
from inscape.training import TrainConfig, known, remarks, train
from inscape.training import variants as room
from inscape.training.ranks import Ranks
from inscape.training.variants import TopK
from inscape.training.variants.batch_topk import at_least, largest

ALL = (
    ("topk", {}),
    ("batch_topk", {}),
    ("matryoshka", {"prefixes": (0.25, 0.5, 1.0)}),
    ("jumprelu", {}),
    ("jumprelu", {"penalty": "tanh"}),
    ("relu", {}),
    ("gated", {}),
)
KINDS = (("autoencoder", RESID, False), ("transcoder", MLP, False), ("skip", MLP, True))


def config(**changes: Any) -> TrainConfig:
    settings = {"d_dict": 64, "k": 5, "tokens": 150_000, "batch_size": 200, "lr": 3e-3}
    return TrainConfig(**{**settings, **changes})


def test_all_built_in_variants_are_tested() -> None:
    assert {name for name, _ in ALL} == set(known())


@pytest.mark.parametrize(("kind", "sites", "skip"), KINDS)
@pytest.mark.parametrize(("variant", "options"), ALL)
def test_a_variant_explains_fresh_data_with_the_features_that_were_asked_for(
    tmp_path: Path, variant: str, options: dict[str, Any], kind: str, sites: Any, skip: bool
) -> None:
    data = sparse_world(rows=5000)
    asked = config(variant=variant, options=options, skip=skip)
    seen = Source({site: x[:4000] for site, x in data.items()})
    made = train(seen, *sites, tmp_path / "d", asked, name="it")
    x, y = (data[site][4000:] for site in sites)
    # An L1 penalty shrinks what it leaves: five such features are worth fewer others.
    rank = 2 if variant in ("relu", "gated") else 5
    assert fvu(made, x, y) < linear_fvu(x, y, rank=rank)
    assert made.encode(x).l0() == pytest.approx(5, rel=0.3)
    opened = Dictionary.open(tmp_path / "d")
    assert torch.equal(opened(x), made(x))
    assert opened.config.kind == ("topk" if variant == "topk" else "threshold")
    assert opened.config.skip is skip
    if kind == "autoencoder":
        torch.testing.assert_close(opened.W_dec.norm(dim=1), torch.ones(64), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sites", [RESID, MLP])
@pytest.mark.parametrize(("variant", "options"), ALL)
def test_what_is_saved_acts_on_activations_as_they_are(
    tmp_path: Path, variant: str, options: dict[str, Any], sites: Any
) -> None:
    """A thousand times as large: the same features, and a thousand times the reconstruction."""
    data = sparse_world()
    large = {site: 1000 * x for site, x in data.items()}
    asked = config(tokens=4000, variant=variant, options=options, skip=sites is MLP)
    small = train(Source(data), *sites, tmp_path / "a", asked, name="a")
    big = train(Source(large), *sites, tmp_path / "b", asked, name="b")
    x = data[sites[0]][:100]
    torch.testing.assert_close(big(1000 * x), 1000 * small(x), rtol=2e-3, atol=2.0)
    assert big.encode(1000 * x).l0() == pytest.approx(small.encode(x).l0(), rel=0.01)


def test_a_skip_takes_over_what_is_linear(tmp_path: Path) -> None:
    data = sparse_world()
    x = data["mlp_in.1"]
    data["mlp_out.1"] = x @ torch.randn((16, 16), generator=torch.Generator().manual_seed(3))
    plain = train(Source(data), *MLP, tmp_path / "a", config(k=1), name="a")
    skipping = train(Source(data), *MLP, tmp_path / "b", config(k=1, skip=True), name="b")
    assert fvu(skipping, x, data["mlp_out.1"]) < 0.1 * fvu(plain, x, data["mlp_out.1"])


def test_prefixes_of_a_matryoshka_dictionary_stand_by_themselves(tmp_path: Path) -> None:
    data = sparse_world()
    x = data[RESID[0]]

    def of_first(made: Dictionary, count: int) -> float:
        dense = made.encode(x).dense(64)
        dense[:, count:] = 0
        error = x - (dense @ made.W_dec + made.b_dec)
        return float(error.square().sum() / (x - x.mean(0)).square().sum())

    nested = config(variant="matryoshka", options={"prefixes": (0.25, 1.0)})
    plain = config(variant="batch_topk")
    first, second = (
        train(Source(data), *RESID, tmp_path / c.variant, c, name="it") for c in (nested, plain)
    )
    assert of_first(first, 16) < 0.5 * of_first(second, 16)


def test_the_largest_of_a_batch_are_exact_and_ties_do_not_add_up() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 2.0, 2.0, 5.0])
    code = RaggedCode(torch.tensor([0, 2, 2, 6]), torch.arange(6), values)
    assert Ranks().border(values, 4) == 2.0
    assert Ranks().border(values, 7) == 0.0
    kept = largest(code, 2.0, 4)
    assert kept.values.tolist() == [3.0, 2.0, 2.0, 5.0]
    assert kept.indptr.tolist() == [0, 1, 1, 4]
    assert kept.indices.tolist() == [0, 2, 3, 5]
    assert at_least(code, 0.0) is code
    assert at_least(code, 2.0).indices.tolist() == [0, 2, 3, 4, 5]


@pytest.mark.parametrize(("variant", "options"), ALL)
def test_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path: Path, variant: str, options: dict[str, Any]
) -> None:
    """Running thresholds and penalties' weights are part of the checkpoint."""
    asked = config(tokens=20_000, variant=variant, options=options)

    def interrupt(number: int) -> None:
        if number == 37:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="after step 38 of 100"):
        train(Source(sparse_world(), interrupt), *RESID, tmp_path / "d", asked, name="it")
    begun: list[int] = []
    source = Source(sparse_world(), begun.append)
    resumed = train(source, *RESID, tmp_path / "d", asked, name="it")
    assert begun[0] == 38
    whole = train(Source(sparse_world()), *RESID, tmp_path / "w", asked, name="it")
    assert all(torch.equal(value, resumed.weights[key]) for key, value in whole.weights.items())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_jumprelu_reaches_the_number_of_active_features_that_was_asked_for(
    tmp_path: Path, seed: int
) -> None:
    data = sparse_world(rows=5000)
    asked = config(variant="jumprelu", seed=seed)
    seen = Source({site: x[:4000] for site, x in data.items()})
    made = train(seen, *RESID, tmp_path / "d", asked, name="it")
    assert made.encode(data[RESID[0]][4000:]).l0() == pytest.approx(asked.k, rel=0.25)
    assert remarks(made) == []


def test_a_target_that_was_not_reached_is_told_with_what_was(tmp_path: Path) -> None:
    source = Source(sparse_world())
    weak = config(tokens=20_000, variant="relu", options={"coefficient": 0.001})
    made = train(source, *RESID, tmp_path / "a", weak, name="it")
    (told,) = remarks(made)
    assert f"{made.made_from['figures']['l0']:.3g} active features" in told
    assert "instead of 5" in told
    near = train(source, *RESID, tmp_path / "b", config(variant="batch_topk"), name="it")
    assert remarks(near) == []


def test_given_coefficients_are_kept_and_led_ones_reach_their_target(tmp_path: Path) -> None:
    source = Source(sparse_world())
    weak, strong = (
        train(
            source,
            *RESID,
            tmp_path / str(c),
            config(variant="relu", options={"coefficient": c}),
            name="it",
        )
        for c in (0.05, 5.0)
    )
    x = source.data[RESID[0]]
    assert weak.encode(x).l0() > 2 * strong.encode(x).l0()


def test_unknown_variants_and_settings_are_told_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="batch_topk, matryoshka"):
        config(variant="batchtopk")
    with pytest.raises(ConfigError, match="unknown; expected one of penalty, coefficient"):
        config(variant="jumprelu", options={"lambda": 3})
    with pytest.raises(ConfigError, match="coefficient"):
        config(variant="relu", options={"coefficient": -1.0})


@pytest.mark.parametrize("prefixes", [(0.5, 0.25, 1.0), (0.5,), (0.001, 1.0), ()])
def test_prefixes_that_do_not_nest_are_refused(tmp_path: Path, prefixes: tuple[float, ...]) -> None:
    asked = config(variant="matryoshka", options={"prefixes": prefixes})
    with pytest.raises(InputError, match="prefixes"):
        train(Source(sparse_world()), *RESID, tmp_path / "d", asked, name="it")
    assert not (tmp_path / "d").exists()


def test_an_autoencoder_has_no_skip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="identity"):
        train(Source(sparse_world()), *RESID, tmp_path / "d", config(skip=True), name="it")


class Halves(TopK):
    """A variant of another package: the first half of the features alone."""

    name: ClassVar[str] = "halves"


def test_variants_of_other_packages_come_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        EntryPoint("halves", "tests.training.test_variants:Halves", room.GROUP),
        EntryPoint("topk", "tests.training.test_variants:Halves", room.GROUP),
    ]
    monkeypatch.setattr(room, "entry_points", lambda group: points)
    known.cache_clear()
    try:
        assert known()["topk"] is TopK
        asked = config(tokens=4000, variant="halves")
        made = train(Source(sparse_world()), *RESID, tmp_path / "d", asked, name="it")
        assert made.made_from["training"]["variant"] == "halves"
    finally:
        known.cache_clear()
