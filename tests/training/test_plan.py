"""What a plan counts is what a training does: parameters, memory, traffic, and work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inscape.core import InputError, StorageError
from inscape.dictionary import Code, DictionaryConfig, kernels
from inscape.training import (
    Processes,
    Rates,
    TrainConfig,
    Trainer,
    Workload,
    initial_weights,
    known,
    measure,
    plan,
    sharings,
)
from inscape.training import rates as rates_module
from inscape.training.costs import Activity, Costs
from inscape.training.ranks import Ranks
from inscape.training.rates import UNITS, measure_network

D_MODEL, D_DICT, K, BATCH, AUX = 32, 512, 8, 64, 16
DEAD = 51  # a tenth of the features
MEMORY_TOLERANCE = 0.2


def asked(
    variant: str = "topk", *, transcoder: bool = False, **settings: Any
) -> tuple[DictionaryConfig, TrainConfig]:
    config = TrainConfig(
        **{
            "d_dict": D_DICT,
            "k": K,
            "batch_size": BATCH,
            "tokens": 1000 * BATCH,
            "variant": variant,
            "aux_k": AUX,
            "aux_weight": 1 / 32,
            "dead_tokens": 10**9,
            **settings,
        }
    )
    shape = DictionaryConfig(
        site_in="mlp_in.0",
        site_out="mlp_out.0" if transcoder else "mlp_in.0",
        d_in=D_MODEL,
        d_out=D_MODEL,
        d_dict=D_DICT,
        k=K,
        subtract_b_dec=not transcoder,
        skip=config.skip,
    )
    return shape, config


def begun(shape: DictionaryConfig, config: TrainConfig, ranks: Ranks | None = None) -> Trainer:
    """A training some of whose features are dead, spread over the dictionary."""
    sample = torch.randn((64, shape.d_in), generator=torch.Generator().manual_seed(0))
    weights = initial_weights(shape, sample=sample, target_mean=sample.mean(0), seed=0)
    weights["W_dec"] = weights["W_enc"].clone()
    weights["W_enc"][:: D_DICT // DEAD] *= 0.01
    trainer = Trainer(shape, config, weights, ranks)
    trainer.silent_tokens[:: D_DICT // DEAD] = 10**9
    return trainer


def rows(seed: int = 1) -> Tensor:
    return torch.randn((BATCH, D_MODEL), generator=torch.Generator().manual_seed(seed))


def at_start(costs: Costs, trainer: Trainer) -> Activity:
    return costs.activity(0.0, len(trainer.dead) / D_DICT)


def even_rates(**changes: float) -> Rates:
    return Rates({**dict.fromkeys(UNITS, 1.0), **changes}, {}, {"processor": "none"})


@pytest.mark.parametrize("variant", sorted(known()))
@pytest.mark.parametrize("kind", ["autoencoder", "transcoder", "skip transcoder"])
def test_parameters_are_those_of_the_training(variant: str, kind: str) -> None:
    shape, config = asked(variant, transcoder=kind != "autoencoder", skip=kind[:4] == "skip")
    trainer, costs = begun(shape, config), Costs(shape, config)
    assert costs.weights == sum(w.numel() for w in trainer.weights.values())
    found = costs.memory(costs.activity(0.0))
    held = [w.nbytes for part in (trainer.mean, trainer.square) for w in part.values()]
    assert found["weights"] + found["moments"] == sum(held) * 3 / 2


class Told(Ranks):
    """Processes of which this one sees no other, but notes what it would send."""

    num_data, num_features = 2, 2

    def __init__(self) -> None:
        self.sent = {"data": 0.0, "features": 0.0}

    def over_data(self, tensor: Tensor) -> Tensor:
        self.sent["data"] += tensor.nbytes  # 2 (P - 1) / P is one for two
        return tensor

    def over_features(self, tensor: Tensor) -> Tensor:
        self.sent["features"] += tensor.nbytes
        return tensor

    def top(self, code: Code) -> Code:
        self.sent["features"] += code.values.nbytes
        return code


@pytest.mark.parametrize("variant", sorted(known()))
def test_what_is_sent_is_what_a_step_sums_up_and_gathers(variant: str) -> None:
    shape, config = asked(variant, batch_size=2 * BATCH, tokens=2000 * BATCH)
    told = Told()
    trainer = begun(shape, config, told)
    trainer.silent_tokens[: D_DICT // 2 : 10] = 10**9
    costs = Costs(shape, config, Processes.of(4, 2))
    wanted = costs.sent(costs.activity(0.0, len(trainer.dead) / D_DICT))
    trainer.step(rows(), rows())
    for axis, size in told.sent.items():
        assert wanted[axis] == pytest.approx(size, rel=0.01), axis


@pytest.mark.parametrize("variant", ["topk", "batch_topk", "matryoshka", "jumprelu", "relu"])
def test_the_work_is_what_the_kernels_are_given(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, config = asked(variant)
    trainer, costs = begun(shape, config), Costs(shape, config)
    done: Counter[str] = Counter()

    def noted(name: str) -> Any:
        kernel = getattr(kernels, name)

        def run(code: Any, *given: Any, **named: Any) -> Any:
            codes = code if name == "weight_gradients" else [code]
            for one in codes:
                entries = one.code if name == "weight_gradients" else one
                number = int((entries.values > 0).sum())
                done[name] += number * D_MODEL * (2 if name == "weight_gradients" else 1)
            return kernel(code, *given, **named)

        return run

    for name in ("decode", "reconstruct", "value_gradients", "weight_gradients"):
        monkeypatch.setattr(kernels, name, noted(name))
    activity = at_start(costs, trainer)
    trainer.step(rows(), rows())
    # With all other rates infinite, the time of a part is the work of one kernel.
    for name, found in done.items():
        others = {unit: float("inf") for unit in UNITS if unit != name}
        planned = sum(costs.seconds(activity, even_rates(**others)).values())
        assert planned == pytest.approx(found, rel=0.08), name


def test_products_and_parameters_are_counted() -> None:
    shape, config = asked(transcoder=True, skip=True)
    costs = Costs(shape, config)
    seconds = costs.seconds(costs.activity(0.0), even_rates())
    skip = 4 * BATCH * D_MODEL * D_MODEL
    assert seconds["encode"] == 2 * BATCH * D_MODEL * D_DICT + skip
    assert seconds["adam"] == costs.weights
    assert seconds["choose"] == BATCH * D_DICT
    shared = Costs(shape, config, Processes(data=1, features=2))
    assert shared.seconds(shared.activity(0.0), even_rates())["encode"] == (
        BATCH * D_MODEL * D_DICT + skip
    )


PEAK = """
import gc, re, sys, torch
from pathlib import Path
from inscape.dictionary import DictionaryConfig
from inscape.training import TrainConfig, Trainer, initial_weights
from inscape.training.costs import Costs

def held(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(key + r":\\s+(\\d+)", status).group(1)) * 1024

def planned(variant, d_model, d_dict, k, batch):
    shape = DictionaryConfig(site_in="resid_post.0", site_out="resid_post.0", d_in=d_model,
                             d_out=d_model, d_dict=d_dict, k=k, subtract_b_dec=True)
    config = TrainConfig(d_dict=d_dict, k=k, batch_size=batch, variant=variant,
                         tokens=1000 * batch, dead_tokens=10**12)
    sample = torch.randn(64, d_model)
    weights = initial_weights(shape, sample=sample, target_mean=sample.mean(0), seed=0)
    weights["W_enc"][::20] *= 0.05
    trainer = Trainer(shape, config, weights)
    pre = (sample - weights["b_dec"]) @ weights["W_enc"].T
    for key, value in trainer.variant.started(pre).items():
        trainer.weights[key].fill_(value)
    for _ in range(3):
        trainer.silent_tokens[::20] = 10**12
        x = torch.randn(batch, d_model)
        trainer.step(x, x)
    costs = Costs(shape, config)
    return sum(costs.memory(costs.activity(0.0, 0.05)).values())

variant, *size = sys.argv[1], *map(int, sys.argv[2:])
planned(variant, 32, 256, 4, 64)  # what is compiled and loaded belongs to the baseline
gc.collect()
before = held("VmRSS")
wanted = planned(variant, *size)
print(wanted, held("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("variant", "size"),
    [
        ("topk", (256, 32768, 32, 1024)),
        ("batch_topk", (256, 32768, 32, 1024)),
        ("matryoshka", (256, 32768, 32, 1024)),
        ("jumprelu", (32, 8192, 64, 4096)),
        ("gated", (32, 8192, 32, 4096)),
    ],
)
def test_the_peak_memory_is_the_formulas(variant: str, size: tuple[int, ...]) -> None:
    command = [sys.executable, "-c", PEAK, variant, *map(str, size)]
    # The formula counts arrays: what is freed is handed back at once here.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    wanted, found = map(float, done.stdout.split())
    assert wanted / found == pytest.approx(1.0, abs=MEMORY_TOLERANCE)


def test_entries_fall_from_the_start_to_the_target() -> None:
    shape, config = asked("relu", aux_weight=0.0)
    costs = Costs(shape, config)
    assert costs.activity(0.0).active == D_DICT / 2
    assert costs.activity(0.25).active == pytest.approx((D_DICT / 2 * K) ** 0.5)
    assert costs.activity(1.0).active == K
    path = [costs.activity(step / 1000).active for step in range(1001)]
    assert costs.mean_activity().active == pytest.approx(sum(path) / len(path), rel=0.01)


def test_a_plan_says_what_it_does_not_know() -> None:
    shape, config = asked()
    alone = plan(shape, config, even_rates())
    assert alone.exchange_seconds == 0
    assert sum(alone.sent.values()) == 0
    assert not any("network" in line for line in alone.assumed)
    shared = plan(shape, config, even_rates(), processes=Processes.of(4, 2))
    assert shared.exchange_seconds is None
    assert any("network" in line and "not measured" in line for line in shared.assumed)
    fast = Rates(even_rates().per_second, {}, {}, network=2.0)
    told = plan(shape, config, fast, processes=Processes.of(4, 2))
    assert told.exchange_seconds == sum(told.sent.values()) / 2
    extra = told.total_seconds - shared.total_seconds
    assert extra == pytest.approx(told.exchange_seconds * config.num_steps)
    assert json.loads(json.dumps(told.to_json()))["memory_bytes"] == told.memory_bytes


def test_a_large_dictionary_fits_where_it_is_shared() -> None:
    config = TrainConfig(d_dict=1 << 25, k=64, batch_size=8192, tokens=10**9, aux_weight=0.0)
    shape = DictionaryConfig(
        site_in="resid_post.0",
        site_out="resid_post.0",
        d_in=8192,
        d_out=8192,
        d_dict=1 << 25,
        k=64,
        subtract_b_dec=True,
    )
    ways = sharings(shape, config, 64)
    assert [way.features for way in ways] == [1, 2, 4, 8, 16, 32, 64]
    assert ways[Processes(64, 1)] > 8.7e12, "weights, moments and gradients of 2.2 TB each"
    assert ways[Processes(1, 64)] < 1.5e11
    assert plan(shape, config, even_rates()).checkpoint_bytes == pytest.approx(6.6e12, rel=0.01)


def test_what_cannot_be_shared_or_is_not_known_is_refused() -> None:
    shape, config = asked()
    with pytest.raises(InputError, match="6 processes cannot share the features 4 ways"):
        Processes.of(6, 4)
    with pytest.raises(InputError, match="512 features cannot be shared 3 ways"):
        Costs(shape, config, Processes.of(3, 3))
    with pytest.raises(InputError, match="64 rows of a batch cannot be shared 3 ways"):
        Costs(shape, config, Processes.of(3, 1))
    with pytest.raises(InputError, match="'mine' is not known"):
        Costs(shape, config.model_copy(update={"variant": "mine"}))


@pytest.mark.parametrize("slots", [True, False])
def test_every_rate_is_measured_and_comes_back_from_its_file(slots: bool, tmp_path: Path) -> None:
    at = Workload(
        d_in=16,
        d_out=16,
        d_dict=256,
        batch_size=64,
        active=8,
        slots=slots,
        num_dead=16,
        aux_k=4,
        num_shards=2,
    )
    rates = measure(at)
    assert rates.per_second.keys() == UNITS.keys()
    assert all(0 < rate < float("inf") for rate in rates.per_second.values())
    rates.write(tmp_path / "rates.json")
    again = Rates.read(tmp_path / "rates.json")
    assert again == rates
    assert again.network is None


def test_the_network_is_what_the_slowest_process_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, summed = [0.0], []

    class Four(Ranks):
        num_data = 4

        def over_data(self, tensor: Tensor) -> Tensor:
            clock[0] += 0.004
            summed.append(tensor.nbytes)
            return tensor

        def least(self, value: float) -> float:
            return min(value, 2 * value)  # another one takes twice as long

    monkeypatch.setattr(rates_module.time, "perf_counter", lambda: clock[0])
    assert measure_network(Ranks()) is None
    found = measure_network(Four())
    assert found == pytest.approx(2 * 3 / 4 * summed[0] / 0.008)
    assert len(summed) == 2 + 3 * round(0.02 / 0.008)  # to warm up, to count, three series
    rates = even_rates()
    assert rates.with_network(Ranks()) is rates
    fast = rates.with_network(Four())
    assert (fast.network, fast.machine["processes"]) == (pytest.approx(found), 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "front"}, "holds no rates"),
        ({"version": 9}, "found version 9"),
        ({"per_second": {"product": 1.0}}, "the rate scan_top is None"),
        ({"per_second": {**dict.fromkeys(UNITS, 1.0), "adam": -2}}, "the rate adam is -2"),
        ({"network": "fast"}, "the rate network is fast"),
    ],
)
def test_rates_that_are_none(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    even_rates().write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises((InputError, StorageError), match=said):
        Rates.read(path)
