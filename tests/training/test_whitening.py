"""Whitened training: every direction counts alike, and the dictionary is one of the raw site."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.source import Source, sparse_world
from tests.training.test_train import MLP, RESID, config

from inscape.core import DataError, InputError
from inscape.dictionary import Dictionary
from inscape.training import remarks, train
from inscape.training.whitening import FLOOR, Whitening


def loud_and_quiet(rows: int = 4000) -> torch.Tensor:
    """Eight noisy dimensions of spread 3, and eight that hold one-hot codes of spread 0.1."""
    generator = torch.Generator().manual_seed(3)
    loud = 3 * torch.randn((rows, 8), generator=generator)
    quiet = torch.zeros((rows, 8))
    quiet[torch.arange(rows), torch.randint(8, (rows,), generator=generator)] = 0.3
    return torch.cat([loud, quiet], 1) + 5.0


def test_whitened_activations_have_unit_covariance_and_come_back() -> None:
    x = loud_and_quiet()[:, :15]  # one-hot codes sum to one: the last of them is not free
    found = Whitening.of(x)
    z = found(x)
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(15), atol=1e-3, rtol=0)
    torch.testing.assert_close(z @ found.inverse + found.mean, x, atol=1e-3, rtol=1e-4)


def test_directions_that_hardly_vary_are_not_blown_up() -> None:
    x = loud_and_quiet()
    x[:, 15] = 1e-6 * torch.randn(len(x), generator=torch.Generator().manual_seed(0))
    assert float(Whitening.of(x)(x)[:, 15].std()) < 1e-3
    assert float(Whitening.of(x).matrix.norm(dim=0).max()) <= 1.01 / (3 * FLOOR**0.5)


@pytest.mark.parametrize("x", [torch.randn(9, 16), torch.ones(100, 16)])
def test_a_sample_without_covariance_is_refused(x: torch.Tensor) -> None:
    with pytest.raises(DataError, match="no covariance"):
        Whitening.of(x)


def test_quiet_directions_are_learnt_when_whitened(tmp_path: Path) -> None:
    x = loud_and_quiet()
    source = Source({RESID[0]: x})

    def unexplained(whiten: bool) -> float:
        name = f"w{whiten}"
        made = train(source, *RESID, tmp_path / name, config(k=3, whiten=whiten), name=name)
        opened = Dictionary.open(tmp_path / name)
        assert torch.equal(opened(x), made(x))
        error = (x - opened(x))[:, 8:]
        return float(error.square().sum() / (x[:, 8:] - x[:, 8:].mean(0)).square().sum())

    plain, whitened = unexplained(False), unexplained(True)
    assert whitened < 0.6 < plain


def test_mostly_dead_features_are_reported_and_whitening_revives_them(tmp_path: Path) -> None:
    """One dimension with a mean of a thousand times the others' spread."""
    x = sparse_world()[RESID[0]]
    x[:, 0] += 1000 * x.std()

    def made(whiten: bool) -> Dictionary:
        name = f"w{whiten}"
        return train(Source({RESID[0]: x}), *RESID, tmp_path / name, config(whiten=whiten))

    plain, whitened = made(False), made(True)
    share = plain.made_from["figures"]["dead_share"]
    assert share >= 0.5
    (remark,) = remarks(plain)
    assert remark.startswith(f"{share:.0%} of the features of dictionary are dead: whiten")
    assert (whitened.made_from["figures"]["dead_share"], remarks(whitened)) == (0, [])


def test_the_folded_dictionary_is_the_one_that_was_trained(tmp_path: Path) -> None:
    x = loud_and_quiet()
    whitening = Whitening.of(x)
    generator = torch.Generator().manual_seed(1)
    weights = {
        "W_enc": torch.randn((24, 16), generator=generator),
        "b_enc": torch.randn(24),
        "W_dec": torch.randn((24, 16), generator=generator),
        "b_dec": torch.randn(16),
    }
    made = train(Source({RESID[0]: x}), *RESID, tmp_path / "d", config(d_dict=24), name="d")
    inner, outer = (Dictionary(made.config, w) for w in (weights, whitening.fold(weights)))
    z = whitening(x[:200])
    ours, theirs = outer.encode(x[:200]), inner.encode(z)
    assert float((ours.indices == theirs.indices).float().mean()) > 0.99
    torch.testing.assert_close(whitening(outer(x[:200])), inner(z), atol=2e-2, rtol=1e-2)


def test_a_transcoder_is_not_whitened(tmp_path: Path) -> None:
    data = {site: loud_and_quiet() for site in MLP}
    with pytest.raises(InputError, match="train the transcoder without whitening"):
        train(Source(data), *MLP, tmp_path / "d", config(whiten=True), name="d")
    assert not (tmp_path / "d.partial").exists()


def test_another_choice_of_whitening_is_another_run(tmp_path: Path) -> None:
    source = Source({RESID[0]: loud_and_quiet()})
    short = config(tokens=2000)
    train(source, *RESID, tmp_path / "d", short, name="d")
    with pytest.raises(InputError, match="whiten"):
        train(source, *RESID, tmp_path / "d", config(tokens=2000, whiten=True), name="d")


def test_a_stopped_whitened_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    data = {RESID[0]: loud_and_quiet()}
    settings = config(tokens=12_000, checkpoint_seconds=0, whiten=True)

    def stop(number: int) -> None:
        if number == 25:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train(Source(data, stop), *RESID, tmp_path / "d", settings, name="d")
    begun: list[int] = []
    resumed = train(Source(data, begun.append), *RESID, tmp_path / "d", settings, name="d")
    assert begun[0] > 20
    whole = train(Source(data), *RESID, tmp_path / "whole", settings, name="d")
    for key, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[key]), key
