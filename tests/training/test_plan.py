"""What a plan counts is what a training holds, sends and does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from tests.training.source import Source, sparse_world
from torch import Tensor

from inscape.core import InputError
from inscape.dictionary import DictionaryConfig
from inscape.training import TrainConfig, Trainer, initial_weights, known, plan
from inscape.training.ranks import Ranks

SITE, K, D_DICT, BATCH = "resid_post.1", 4, 64, 32


def asked(variant: str = "topk", **settings: Any) -> tuple[DictionaryConfig, TrainConfig]:
    given = {"d_dict": D_DICT, "k": K, "tokens": 1000 * BATCH, "batch_size": BATCH}
    config = TrainConfig(**{**given, "variant": variant, **settings})
    width = 16
    shape = DictionaryConfig(
        site_in=SITE,
        site_out=SITE,
        d_in=width,
        d_out=width,
        d_dict=config.d_dict,
        k=config.k,
        subtract_b_dec=True,
    )
    return shape, config


@pytest.mark.parametrize("variant", sorted(known()))
def test_parameters_and_steps_are_those_of_the_training(variant: str) -> None:
    shape, config = asked(variant)
    made = plan(Source(sparse_world()), shape, config)
    sample = torch.randn(64, 16)
    weights = initial_weights(shape, sample=sample, target_mean=sample.mean(0), seed=0)
    trainer = Trainer(shape, config, weights)
    held = sum(w.nbytes for w in trainer.weights.values())
    assert made.memory["weights"] == held
    assert made.memory["moments"] == 2 * held
    assert made.dictionary_bytes == held
    assert made.num_steps == 1000
    assert made.step_seconds > 0
    assert made.total_seconds == made.step_seconds * 1000
    assert json.loads(json.dumps(made.to_json()))["memory_bytes"] == made.memory_bytes


class Counted(Ranks):
    """One process that counts what it would send to others."""

    num_data, num_features = 2, 2

    def __init__(self) -> None:
        super().__init__()
        self.sent = {"data": 0.0, "features": 0.0}

    def over_data(self, tensor: Tensor) -> Tensor:
        self.sent["data"] += tensor.nbytes
        return tensor

    def over_features(self, tensor: Tensor) -> Tensor:
        self.sent["features"] += tensor.nbytes
        return tensor

    def top(self, code: Any) -> Any:
        self.sent["features"] += code.values.nbytes
        return code


def test_what_is_sent_is_what_a_step_sums_up_and_gathers() -> None:
    shape, config = asked(batch_size=2 * BATCH, tokens=2000 * BATCH)
    ranks = Counted()
    sample = torch.randn(64, 16)
    weights = initial_weights(shape, sample=sample, target_mean=sample.mean(0), seed=0)
    trainer = Trainer(shape, config, weights, ranks)
    trainer.silent_tokens[::20] = 10**12  # as a plan takes them
    made = plan(Source(sparse_world()), shape, config, processes=4, feature_shards=2)
    x = torch.randn(BATCH, 16)
    trainer.step(x, x)
    for axis, size in ranks.sent.items():
        assert made.sent[axis] == pytest.approx(size, rel=0.15), axis


PEAK = """
import gc, re, sys, torch
from pathlib import Path
from inscape.activations import TensorActivations
from inscape.training import TrainConfig, Trainer, dictionary_shape, plan
from inscape.training import planning
from inscape.training.view import View

planning.STEPS = 3

def held(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(key + r":\\s+(\\d+)", status).group(1)) * 1024

def train(variant, d_model, d_dict, k, batch):
    source = TensorActivations(torch.randn(2 * batch, d_model))
    config = TrainConfig(d_dict=d_dict, k=k, batch_size=batch, variant=variant,
                         tokens=1000 * batch, dead_tokens=10**12)
    shape = dictionary_shape(source, "resid_post.0", "resid_post.0", config)
    view = View(source, shape, config)
    trainer = Trainer(shape, config, view.initial())
    for batch, _ in zip(source.batches(view.sites, batch, seed=0), range(3)):
        trainer.silent_tokens[::20] = 10**12
        trainer.step(*view.pair(batch))
    return source, shape, config

variant, *size = sys.argv[1], *map(int, sys.argv[2:])
plan(*train(variant, 32, 256, 4, 64))  # what is compiled and loaded belongs to the baseline
gc.collect()
before = held("VmRSS")
given = train(variant, *size)
peak = held("VmHWM") - before
print(plan(*given).memory_bytes, peak)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("variant", "size"), [("topk", (256, 16384, 32, 1024)), ("jumprelu", (32, 8192, 64, 2048))]
)
def test_the_peak_memory_is_the_formulas(variant: str, size: tuple[int, ...]) -> None:
    command = [sys.executable, "-c", PEAK, variant, *map(str, size)]
    # The formula counts arrays: what is freed is handed back at once here.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    wanted, found = map(float, done.stdout.split())
    assert wanted / found == pytest.approx(1.0, abs=0.3)


def test_a_large_dictionary_is_tried_with_fewer_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inscape.training.planning.MOST_PARAMETERS", 32 * 1024)
    shape, config = asked(d_dict=1 << 25, k=64, tokens=10**9, batch_size=64)
    source = Source(sparse_world())
    made = plan(source, shape, config, processes=64, feature_shards=64)
    assert made.tried_features == 1024
    assert made.memory["weights"] == pytest.approx(2**25 / 64 * (32 + 1) * 4, rel=0.01)
    assert made.checkpoint_bytes == pytest.approx(2**25 * (33 * 12 + 8), rel=0.01)


def test_what_cannot_be_shared_is_refused() -> None:
    given = Source(sparse_world()), *asked()
    with pytest.raises(InputError, match="6 processes cannot share the features 4 ways"):
        plan(*given, processes=6, feature_shards=4)
    with pytest.raises(InputError, match="64 features cannot be shared 3 ways"):
        plan(*given, processes=3, feature_shards=3)
    with pytest.raises(InputError, match="a batch of 32 tokens cannot be shared by 3 processes"):
        plan(*given, processes=3)
