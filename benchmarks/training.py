"""Training dictionaries: a step beside other libraries', and beside the floor of any step.

Contenders take turns; see `turns`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks import contenders
from benchmarks.contenders import Setting, Step
from benchmarks.measurement import Measurement, Run
from benchmarks.turns import ROUNDS, WARM, Made, floor, own_type, peak, ratio, times
from inscape.activations import ActivationStore, harvest
from inscape.dictionary import Encoder
from inscape.dictionary.encoder import encode_top
from inscape.model import Model
from inscape.training import TrainConfig, train
from inscape_microworld import corpus, open_model, write_corpus
from inscape_microworld.benchmark import Check, Row

SMALL = Setting(d_model=512, d_dict=8192, k=32, batch=4096)
LARGE = Setting(d_model=512, d_dict=32768, k=32, batch=4096)
HALF_TOKENS = 1_000_000
STEPS, HELD, CONTEXT = 8, 4, 128
SIZES = (
    Setting(512, 131072, 32, 1024),
    Setting(1024, 65536, 32, 1024),
    Setting(2048, 32768, 32, 1024),
    Setting(4096, 16384, 32, 1024),
)


def against(setting: Setting, bars: Mapping[str, str], run: Run, *, variant: str = "topk") -> Row:
    """How many times a peer's step takes as long as ours, of the peers that are installed.

    A peer's figure is that of the faster of its two ways, fp32 and bf16 autocast, in each round.
    """
    there = [name for name in bars if name in contenders.installed()]
    made: dict[str, Callable[[], Step]] = {
        f"inscape {encoder}": partial(contenders.ours, setting, variant, encoder=encoder)
        for encoder in ("bf16", "fp32")
    }
    if variant == "jumprelu":
        made["inscape, at the start of a run"] = partial(
            contenders.ours, setting, variant, start=True
        )
    for name in there:
        for low in (False, True):
            key = name + " autocast" * low
            made[key] = partial(contenders.named, key, setting, variant)
    found = times(made, setting, seed=run.seed)
    first = next(iter(found))
    checks = [
        Check(f"{key}, seconds", float(np.median(found[key])), "")
        for key in found
        if key.startswith("inscape")
    ]
    for name in there:
        best = np.minimum(found[name], found[f"{name} autocast"])
        figure, interval = ratio(best, found[first], run.seed)
        checks.append(Check(f"{name} / {first}", figure, bars[name], interval))
        figure, interval = ratio(found[name], found["inscape fp32"], run.seed)
        bar = "≥ 1.5" if name == "sparsify" else ""
        checks.append(Check(f"{name} fp32 / inscape fp32", figure, bar, interval))
    return Row(
        f"train-{variant}-{setting.d_dict}",
        f"seconds of a step, {variant}, d {setting.d_model}, {setting.d_dict} features",
        tuple(checks),
        samples=_samples(setting),
        seed=run.seed,
        detail={name: float(np.median(seconds)) for name, seconds in found.items()},
    )


def over_floor(setting: Setting, run: Run) -> Row:
    """A step over the encoder's product alone."""
    made: Made = {
        "inscape": partial(contenders.ours, setting, encoder="bf16"),
        "product": partial(floor, setting),
    }
    found = times(made, setting, seed=run.seed)
    figure, interval = ratio(found["inscape"], found["product"], run.seed)
    return Row(
        f"train-floor-{setting.d_dict}",
        f"a TopK step over the encoder's product in bf16, {setting.d_dict} features",
        (Check("step / product", figure, "≤ 2.2", interval),),
        samples=_samples(setting),
        seed=run.seed,
        detail={name: float(np.median(seconds)) for name, seconds in found.items()},
    )


def memory(setting: Setting, run: Run) -> Row:
    """Peak memory of a process that takes three steps, less that of one that takes none."""
    names = ["inscape", *contenders.installed()]
    found = {name: peak(name, setting, 3) - peak(name, setting, 0) for name in names}
    leanest = min((n for n in names if n != "inscape"), key=lambda n: found[n], default=None)
    checks = [Check(f"{name}, GB", found[name] / 1e9, "") for name in names]
    if leanest is not None:
        share = found["inscape"] / found[leanest]
        checks.insert(0, Check(f"inscape / {leanest}", share, "≤ 0.7"))
    return Row(
        f"train-memory-{setting.d_dict}",
        f"peak memory of TopK training, d {setting.d_model}, {setting.d_dict} features",
        tuple(checks),
        samples=_samples(setting),
        seed=run.seed,
    )


def _samples(setting: Setting) -> str:
    return (
        f"{ROUNDS} rounds after {WARM}; batch {setting.batch}, k {setting.k}, "
        f"{setting.num_dead} dead features; {torch.get_num_threads()} threads"
        + ("; huge pages" if os.environ.get("THP_MEM_ALLOC_ENABLE") == "1" else "")
    )


def half(run: Run) -> Row:
    """What a product in bf16 chooses, and what it leads to, beside fp32: the microworld's
    activations of the middle layer, 8,192 features, k 32, the encoder asked for either way."""
    folder = run.folder.parent / "half"
    store, site = stored(folder)
    made = {}
    for encoder in ("fp32", "bf16"):
        config = TrainConfig(
            d_dict=8192, k=32, tokens=HALF_TOKENS, batch_size=4096, seed=run.seed, encoder=encoder
        )
        place = folder / f"{encoder}-{run.seed}"
        made[encoder] = train(store, site, site, place, config, name=encoder)
    fresh = next(store.batches([site], 8192, seed=run.seed + 1))[site]
    shares = []
    for dictionary in made.values():
        x = dictionary.encoder_input(fresh)
        shares.append(share(x, dictionary.W_enc, dictionary.b_enc, 32))
    noise = torch.randn((4096, 512), generator=torch.Generator().manual_seed(run.seed))
    weight = torch.randn((8192, 512), generator=torch.Generator().manual_seed(run.seed + 1))
    left = {key: d.unexplained(fresh, fresh)[site] for key, d in made.items()}
    checks = [
        Check("chosen by both, of a trained dictionary", min(shares), "≥ 0.995"),
        Check(
            "chosen by both, of random activations",
            share(noise, weight, torch.zeros(8192), 32),
            "≥ 0.995",
        ),
        Check("FVU bf16 / fp32", left["bf16"] / left["fp32"], "≤ 1.005"),
    ]
    return Row(
        "train-half",
        "the encoder's product in bf16 beside fp32: choice and final loss",
        tuple(checks),
        samples=f"{HALF_TOKENS} tokens at {site}; 8,192 fresh tokens; 4,096 random rows, d 512",
        seed=run.seed,
        detail=left,
    )


def sizes(run: Run, settings: Sequence[Setting] = SIZES) -> Row:
    """Tokens per second, of steps and of whole trainings, and a step over the product alone, over
    widths and numbers of features; the product in the type that inscape chooses here."""
    checks, types = [], []
    for setting in settings:
        dtype = own_type(setting)
        made: Made = {
            "inscape": partial(contenders.ours, setting, encoder="auto"),
            "product": partial(floor, setting, dtype),
        }
        found = times(made, setting, rounds=3, warm=1, seed=run.seed)
        figure, interval = ratio(found["inscape"], found["product"], run.seed)
        name = f"d {setting.d_model}, {setting.d_dict} features"
        types.append(str(dtype).removeprefix("torch."))
        checks += [
            Check(
                f"{name}, tokens per second", setting.batch / float(np.median(found["inscape"])), ""
            ),
            Check(f"{name}, step / product", figure, "", interval),
        ]
        checks += [
            Check(f"{name}, {what}, tokens per second", speed, "")
            for what, speed in _trained(setting, run.seed).items()
        ]
    batches = ", ".join(str(setting.batch) for setting in settings)
    k = ", ".join(str(k) for k in dict.fromkeys(setting.k for setting in settings))
    return Row(
        "train-sizes",
        "a TopK step beside the encoder's product, and whole trainings, by size",
        tuple(checks),
        samples=f"product in {', '.join(dict.fromkeys(types))}; 3 rounds after 1; batches "
        f"{batches}; k {k}, 5 % dead features; whole trainings: {STEPS} steps from a store of "
        f"{HELD} batches of a random GPT-2-shaped model of that width, none dead; "
        f"{torch.get_num_threads()} threads",
        seed=run.seed,
    )


def _trained(setting: Setting, seed: int) -> dict[str, float]:
    """Tokens per second of a training from a store: as its log tells them (reading, steps), and of
    the whole of it (first weights and writing the dictionary, too)."""
    generator = torch.Generator().manual_seed(seed)
    rows = -(-HELD * setting.batch // (CONTEXT - 2))  # beginning of text and a sink do not count
    documents = torch.randint(2, 1000, (rows, CONTEXT - 1), generator=generator).tolist()
    site = "resid_post.0"
    tokens = STEPS * setting.batch
    config = TrainConfig(
        d_dict=setting.d_dict,
        k=setting.k,
        tokens=tokens,
        batch_size=setting.batch,
        seed=seed,
        log_every=STEPS,
        dead_tokens=10**12,  # the window of so short a run would be one batch
    )
    with tempfile.TemporaryDirectory() as place:
        model = Model.wrap(gpt2(setting.d_model, layers=2, seed=seed))
        store = harvest(model, documents, [site], Path(place) / "store", context=CONTEXT)
        del model
        began = time.perf_counter()
        made = train(store, site, site, Path(place) / "made", config, name="timed")
        return {
            "from a store": made.made_from["figures"]["tokens_per_second"],
            "whole training": tokens / (time.perf_counter() - began),
        }


def gpt2(width: int, *, layers: int, seed: int) -> Any:
    """A model of GPT-2's shape with random weights, that reads CONTEXT tokens."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=layers,
        n_embd=width,
        n_head=max(1, width // 64),
        n_positions=CONTEXT,
        vocab_size=8192,
        bos_token_id=0,
        eos_token_id=1,
    )
    return GPT2LMHeadModel(config).eval()


def end_to_end(run: Run) -> Row:
    """Whole trainings from a store: reading, steps, log and checkpoints."""
    store, site = stored(run.folder.parent / "half")
    tokens, batch = 200_000, 4096
    with tempfile.TemporaryDirectory() as place:
        found = []
        for number in range(4):
            config = TrainConfig(
                d_dict=8192, k=32, tokens=tokens, batch_size=batch, seed=number, encoder="bf16"
            )
            began = time.perf_counter()
            train(store, site, site, Path(place) / str(number), config, name="timed")
            found.append(config.num_steps * batch / (time.perf_counter() - began))
    setting = Setting(store.width(site), 8192, 32, batch)
    steps = times({"inscape": partial(contenders.ours, setting, encoder="bf16")}, setting)
    alone = batch / float(np.median(steps["inscape"]))
    return Row(
        "train-end-to-end",
        "tokens per second of a whole training from a store",
        (
            Check("tokens per second", float(np.median(found[1:])), ""),
            Check("of those of the steps alone", float(np.median(found[1:])) / alone, ""),
        ),
        samples=f"3 trainings after 1, of {tokens} tokens of the microworld, d "
        f"{setting.d_model}, 8,192 features; steps with 5 % dead features",
        seed=run.seed,
    )


def stored(folder: Path) -> tuple[ActivationStore, str]:
    """The microworld's activations of the middle layer, and the site."""
    model = open_model()
    site = f"resid_post.{model.num_layers // 2 - 1}"
    text = folder / "corpus.jsonl"
    if not text.is_file():
        write_corpus(text, corpus(20_000))
    return harvest(model, text, [site], folder / "activations"), site


def share(x: torch.Tensor, W_enc: torch.Tensor, b_enc: torch.Tensor, k: int) -> float:
    """Of the active features of fp32, how many the product in bf16 finds."""
    wanted = encode_top(x, W_enc, b_enc, k)
    found = Encoder(half=True).top_half(x, W_enc, b_enc, k)
    alike = (found.indices[:, :, None] == wanted.indices[:, None, :]) & found.active[:, :, None]
    return float((alike & wanted.active[:, None, :]).sum() / wanted.active.sum())


MUCH = {"SAELens": "≥ 8", "dictionary_learning": "≥ 8"}
SOME = dict.fromkeys(MUCH, "≥ 5")
FIGURES: Mapping[str, Measurement] = {
    "train-topk-8192": Measurement(partial(against, SMALL, {"sparsify": "≥ 2", **MUCH})),
    "train-topk-32768": Measurement(partial(against, LARGE, {"sparsify": "≥ 3", **MUCH})),
    "train-batch_topk-8192": Measurement(partial(against, SMALL, SOME, variant="batch_topk")),
    "train-jumprelu-8192": Measurement(partial(against, SMALL, SOME, variant="jumprelu")),
    "train-floor-8192": Measurement(partial(over_floor, SMALL)),
    "train-floor-32768": Measurement(partial(over_floor, LARGE)),
    "train-memory-8192": Measurement(partial(memory, SMALL)),
    "train-half": Measurement(half),
    "train-sizes": Measurement(sizes),
    "train-end-to-end": Measurement(end_to_end),
}
