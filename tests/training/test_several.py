"""Dictionaries of several sites: crosscoders and cross-layer transcoders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.source import Source
from tests.training.test_train import linear_fvu
from tests.training.test_variants import ALL, config
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Code, CrossLayer, Dictionary, DictionaryConfig, RaggedCode, joined
from inscape.dictionary.kernels import CodeGradient, RowTerms
from inscape.training import TrainConfig, Trainer, train
from inscape_microworld.benchmark.gradients import check_gradients

WIDTHS = (10, 14, 12)
SITES = tuple(f"resid_post.{n}" for n in range(3))
CROSS = (joined(SITES), joined(SITES))
READ = tuple(f"mlp_in.{n}" for n in range(3))
WRITTEN = tuple(f"mlp_out.{n}" for n in range(3))
LAYERS = (joined(READ), joined(WRITTEN))
# A penalty shrinks what it leaves.
SHRINKING = ("relu", "gated")
# The weight that is led to a target runs away for gated transcoders here, of one site too.
GIVEN = {"coefficient": 0.1}


def world(rows: int = 5000) -> dict[str, Tensor]:
    """Thirty sparse concepts: ten lie at all three residual sites, the others at one. Each MLP
    writes what ten of its own and all that earlier ones read."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    amounts = (torch.rand((rows, 30), generator=generator) < 0.08) * (
        1 + torch.rand((rows, 30), generator=generator)
    )
    found = {}
    for n, width in enumerate(WIDTHS):
        lies = torch.tensor([feature < 10 or feature % 3 == n for feature in range(30)])
        # Sizes and means differ from site to site, as in a residual stream.
        found[SITES[n]] = 10.0**n * ((amounts * lies) @ draw(30, width) + 3 * draw(width))
    for n in range(3):
        own, before = torch.zeros(30), torch.zeros(30)
        own[10 * n : 10 * n + 10], before[: 10 * n + 10] = 1, 1
        found[READ[n]] = 4.0**n * ((amounts * own) @ draw(30, 12) + draw(12))
        found[WRITTEN[n]] = 2.0**n * ((amounts * before) @ draw(30, 12) + draw(12))
    return found


def beside(data: dict[str, Tensor], sites: tuple[str, ...]) -> Tensor:
    return torch.cat([data[site] for site in sites], 1)


def dense(made: Dictionary) -> tuple[Tensor, Tensor]:
    """Encoder and decoder of a dictionary with all zeros, from the documented layout."""
    if not made.config.cross_layer:
        return made.W_enc, made.W_dec
    num, width = len(made.config.widths), made.config.widths[0]
    size, first = made.d_dict // num, 0
    encoder, decoder = (torch.zeros(made.d_dict, num * width) for _ in range(2))
    for feature in range(made.d_dict):
        layer = feature // size
        encoder[feature, layer * width : (layer + 1) * width] = made.W_enc[feature]
        for target in range(layer, num):
            decoder[feature, target * width : (target + 1) * width] = made.W_dec[first]
            first += 1
    assert first == len(made.W_dec)
    return encoder, decoder


CASES = [
    (sites, variant, options)
    for sites in (CROSS, LAYERS)
    for variant, defaults in ALL
    for options in (GIVEN if (sites, variant) == (LAYERS, "gated") else defaults,)
    if (sites, variant) != (LAYERS, "matryoshka")
]


@pytest.mark.parametrize(("sites", "variant", "options"), CASES)
def test_several_sites_are_explained_and_the_formula_is_the_documented_one(
    tmp_path: Path, sites: tuple[str, str], variant: str, options: dict[str, Any]
) -> None:
    data = world()
    tokens = 400_000 if variant == "jumprelu" else 150_000
    asked = config(variant=variant, options=options, d_dict=96, k=6, tokens=tokens)
    seen = Source({site: x[:4000] for site, x in data.items()})
    made = train(seen, *sites, tmp_path / "d", asked, name="it")
    reads, writes = made.config.sites_in, made.config.sites_out
    fresh = {site: x[4000:] for site, x in data.items()}
    x, y = beside(fresh, reads), beside(fresh, writes)
    assert torch.equal(made.concat_sites(fresh), x)
    found = made.unexplained(x, y)
    assert list(found) == list(writes)
    rank = 2 if variant in SHRINKING else 4
    for site, unexplained in found.items():
        rest = fresh[site] - made.split_sites(made(x))[site]
        spread = (fresh[site] - fresh[site].mean(0)).square().sum()
        assert unexplained == pytest.approx(float(rest.square().sum() / spread), rel=1e-4)
        assert unexplained < linear_fvu(x, fresh[site], rank=rank), site
    code = made.encode(x)
    assert options is GIVEN or code.l0() == pytest.approx(6, rel=0.3)
    encoder, decoder = dense(made)
    inner = x - made.b_dec if made.config.subtract_b_dec else x
    pre = inner @ encoder.T + made.b_enc
    active = code.dense(96) > 0
    torch.testing.assert_close(code.dense(96), torch.where(active, pre, 0.0), atol=2e-3, rtol=1e-3)
    wanted = code.dense(96) @ decoder + made.b_dec
    torch.testing.assert_close(made(x), wanted, atol=2e-2, rtol=1e-3)
    torch.testing.assert_close(made.pre(x, [70, 3]), pre[:, [70, 3]], atol=2e-3, rtol=1e-3)
    opened = Dictionary.open(tmp_path / "d")
    assert opened.config == made.config
    assert torch.equal(opened(x), made(x))
    assert opened.output_scale == made.output_scale
    last = json.loads((tmp_path / "d" / "train.jsonl").read_text().splitlines()[-1])
    assert last["site_fvu"] == pytest.approx(found, rel=0.5)
    assert sum(last["site_fvu"].values()) / 3 == pytest.approx(last["fvu"], rel=0.1)


@pytest.mark.parametrize(("sites", "variant", "options"), CASES)
def test_what_is_saved_acts_on_activations_as_they_are(
    tmp_path: Path, sites: tuple[str, str], variant: str, options: dict[str, Any]
) -> None:
    """Each site scaled by a number of its own: the same features, and as much more of each."""
    data = world()
    factors = {site: 10.0 ** (n % 4) for n, site in enumerate(data)}
    large = {site: factors[site] * x for site, x in data.items()}
    asked = config(tokens=4000, variant=variant, options=options, d_dict=96)
    small = train(Source(data), *sites, tmp_path / "a", asked, name="a")
    big = train(Source(large), *sites, tmp_path / "b", asked, name="b")
    reads, writes = small.config.sites_in, small.config.sites_out
    x, scaled = beside(data, reads)[:100], beside(large, reads)[:100]
    torch.testing.assert_close(
        small.encode(x).dense(96), big.encode(scaled).dense(96), atol=5e-3, rtol=5e-3
    )
    theirs = big.split_sites(big(scaled))
    for site, part in small.split_sites(small(x)).items():
        torch.testing.assert_close(theirs[site] / factors[site], part, rtol=5e-3, atol=5e-2)
    assert writes == big.config.sites_out


def test_features_of_one_site_and_of_all_are_told_apart_by_their_norms(tmp_path: Path) -> None:
    data = world(rows=8000)
    asked = config(d_dict=48, k=4, tokens=400_000, variant="batch_topk")
    made = train(Source(data), *CROSS, tmp_path / "d", asked, name="it")
    norms = made.site_norms()
    torch.testing.assert_close(norms.square().sum(1), torch.ones(48), atol=1e-3, rtol=0)
    fires = made.encode(beside(data, SITES)).dense(48).mean(0) > 0.03
    shares = (norms / norms.sum(1, keepdim=True)).max(1).values[fires]
    # Twenty concepts lie at one site, ten at three.
    assert int((shares > 0.9).sum()) >= 12
    assert int((shares < 0.6).sum()) >= 6


def test_later_layers_are_explained_by_what_earlier_ones_read(tmp_path: Path) -> None:
    """The third MLP writes what all read: its own transcoder cannot know it."""
    data = world()
    asked = config(d_dict=96, k=6)
    crossing = train(Source(data), *LAYERS, tmp_path / "a", asked, name="a")
    alone = train(Source(data), READ[2], WRITTEN[2], tmp_path / "b", asked, name="b")
    x, y = beside(data, READ), beside(data, WRITTEN)
    assert crossing.unexplained(x, y)[WRITTEN[2]] < 0.3
    assert alone.unexplained(data[READ[2]], data[WRITTEN[2]])[WRITTEN[2]] > 0.5
    norms = crossing.site_norms()
    assert float(norms[32:64, 0].abs().max()) == 0.0
    assert float(norms[64:, :2].abs().max()) == 0.0


def test_an_encoded_feature_reads_its_own_layer_alone(tmp_path: Path) -> None:
    made = train(Source(world()), *LAYERS, tmp_path / "d", config(d_dict=96, tokens=4000), name="d")
    x = beside(world(), READ)[:50]
    other = x.clone()
    other[:, 12:24] += 5.0
    before, after = made.pre(x, list(range(96))), made.pre(other, list(range(96)))
    changed = (before - after).abs().max(0).values > 0.1
    assert not bool(changed[:32].any() or changed[64:].any())
    assert bool(changed[32:64].any())


KILLED = """
import json, os, signal, sys, torch
from pathlib import Path
from tests.training.source import Source
from tests.training.test_several import world
from tests.training.test_variants import config
from inscape.training import train
torch.set_num_threads(int(sys.argv[2]))
settings = json.loads(sys.argv[3])
def on_batch(number):
    if number == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
sites = settings.pop("sites")
asked = config(checkpoint_seconds=0, **settings)
train(Source(world(), on_batch), *sites, Path(sys.argv[1]), asked, name="t")
"""


@pytest.mark.parametrize(
    ("sites", "settings"),
    [
        (CROSS, {"variant": "relu"}),
        (LAYERS, {"variant": "jumprelu", "options": {"penalty": "tanh"}}),
        (LAYERS, {"variant": "batch_topk"}),
    ],
    ids=["crosscoder", "cross-layer jumprelu", "cross-layer batch_topk"],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, repository: Path, sites: tuple[str, str], settings: dict[str, Any]
) -> None:
    settings = {**settings, "d_dict": 96, "tokens": 20_000, "dead_tokens": 3000}
    step = int.from_bytes(os.urandom(2)) % 90 + 5
    out, threads = tmp_path / "killed", str(torch.get_num_threads())
    told = json.dumps({**settings, "sites": sites})
    result = subprocess.run(
        [sys.executable, "-c", KILLED.format(step=step), str(out), threads, told],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    begun: list[int] = []
    asked = config(**settings)
    resumed = train(Source(world(), begun.append), *sites, out, asked, name="t")
    assert begun[0] in (step - 1, step), f"killed at step {step}"
    whole = train(Source(world()), *sites, tmp_path / "whole", asked, name="t")
    for key, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[key]), f"{key}, killed at step {step}"


def test_the_check_of_gradients_notices_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = CrossLayer.value_gradients

    def wrong(self: CrossLayer, *args: Any, **settings: Any) -> Tensor:
        return plain(self, *args, **settings) * 1.05

    monkeypatch.setattr(CrossLayer, "value_gradients", wrong)
    assert check_gradients(0) > 1e-2


def test_the_plain_kernels_serve_as_the_fast_ones_do() -> None:
    """In double precision, and so on a GPU, everything goes by plain torch."""
    wiring, generator = CrossLayer(3, 20), torch.Generator().manual_seed(2)
    x = torch.randn((30, 12), generator=generator)
    decoder = torch.randn((wiring.num_rows, 4), generator=generator)
    values, indices = torch.randn((30, 60), generator=generator).topk(7)
    code = Code(indices, values.relu()).ragged()
    terms = RowTerms(wiring.norm_terms(torch.rand(60), decoder).decoder, torch.rand(60), x.sum(0))
    found = []
    for kind in (torch.float32, torch.float64):
        one = RaggedCode(code.indptr, code.indices, code.values.to(kind))
        own = RowTerms(*(t.to(kind) for t in (terms.decoder, terms.encoder, terms.along)), 30)
        W_dec = decoder.to(kind)
        out = wiring.decode(one, W_dec)
        d_pre = wiring.value_gradients(one, W_dec, out)
        given = [CodeGradient(one, d_pre, out), CodeGradient(one, 2 * d_pre, 3 * out)]
        made = wiring.weight_gradients(given, x.to(kind), W_dec, project=False, terms=own)
        assert made.squared_norm.sum() == pytest.approx(
            float(sum(g.square().sum() for g in (made.W_enc, made.b_enc, made.W_dec))), rel=1e-4
        )
        found.append((out, d_pre, made.W_enc, made.b_enc, made.W_dec))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain.float(), atol=1e-3, rtol=1e-4)


def cross_layer(**changes: Any) -> DictionaryConfig:
    settings = {
        "site_in": LAYERS[0],
        "site_out": LAYERS[1],
        "d_in": 36,
        "d_out": 36,
        "d_dict": 96,
        "k": 5,
        "subtract_b_dec": False,
        "widths": (12, 12, 12),
    }
    return DictionaryConfig(**{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"site_out": "mlp_out.0+mlp_out.1"}, "3 sites are read and 2 written"),
        ({"site_out": "mlp_out.0+mlp_out.1+mlp_out.1"}, "twice"),
        ({"widths": (12, 24)}, "a width for each site"),
        ({"widths": (10, 14, 12)}, "equal widths"),
        ({"d_dict": 97}, "a multiple of 3"),
        ({"glu": True}, "none of these"),
    ],
)
def test_sites_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        cross_layer(**changes)


@pytest.mark.parametrize(
    ("sites", "changes", "said"),
    [
        (CROSS, {"whiten": True}, "without whitening"),
        (CROSS, {"skip": True}, "skip"),
        (LAYERS, {"variant": "matryoshka"}, "no prefixes"),
        (LAYERS, {"skip": True}, "skip"),
        ((CROSS[0], SITES[0]), {}, "3 sites are read and 1 written"),
    ],
)
def test_runs_that_make_no_sense_are_refused_before_they_begin(
    tmp_path: Path, sites: tuple[str, str], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        train(Source(world()), *sites, tmp_path / "d", config(d_dict=96, **changes), name="d")
    assert not (tmp_path / "d").exists()


def test_a_missing_site_is_named() -> None:
    made = Dictionary(cross_layer(), {k: torch.zeros(s) for k, s in cross_layer().shapes().items()})
    with pytest.raises(InputError, match=r"reads mlp_in\.1 too"):
        made.concat_sites({"mlp_in.0": torch.zeros(2, 12)})


def test_only_dictionaries_of_several_sites_need_a_new_reader(tmp_path: Path) -> None:
    plain = DictionaryConfig(
        site_in="embed", site_out="embed", d_in=4, d_out=4, d_dict=8, k=2, subtract_b_dec=True
    )
    versions = []
    for number, shape in enumerate((plain, cross_layer())):
        made = Dictionary(shape, {k: torch.zeros(s) for k, s in shape.shapes().items()})
        made.save(tmp_path / str(number))
        versions.append(json.loads((tmp_path / str(number) / "dictionary.json").read_text()))
    assert [found["version"] for found in versions] == [2, 3]
    assert "widths" not in versions[0]["config"]
    assert versions[1]["config"]["widths"] == [12, 12, 12]
    broken = versions[1] | {"config": versions[1]["config"] | {"widths": [12, 12]}}
    (tmp_path / "1" / "dictionary.json").write_text(json.dumps(broken))
    with pytest.raises((InputError, StorageError)):
        Dictionary.open(tmp_path / "1")


def test_more_dead_features_than_slots_cost_as_much_as_one_site_would() -> None:
    shape = cross_layer()
    asked = TrainConfig(d_dict=96, k=5, tokens=1000, batch_size=100)
    weights = {k: torch.zeros(s) for k, s in shape.shapes().items()}
    assert Trainer(shape, asked, weights).aux_k == 6
