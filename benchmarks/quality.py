"""Dictionaries of the same size, sparsity and tokens, trained by inscape and by other libraries.

1. Activations are harvested once; every contender sees the same batches in the same order, scaled
   as it expects them: the mean norm is the root of the width, for dictionary_learning's JumpReLU 1.
2. A peer is trained by its own step and loss with warm-up and decay over the same shares of the
   run, at our learning rate: at their defaults, made for long runs, both lose several times as much
   (`docs/figures.md`). Windows after which a feature counts as dead, and the rise of JumpReLU's
   penalty, are shares of the run for all, since the published absolute ones are longer than these
   runs.
3. Equal sparsity: the thresholds of each finished dictionary that has some are multiplied by one
   number, so that k features are active on tokens of the training text. TopK needs none of that.
4. Each is spliced into the model: the share of the loss that it recovers on a held-out text, and
   its mean number of active features there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import contenders
from benchmarks.measurement import Absent, Measurement, Run
from inscape.activations import ActivationStore, harvest
from inscape.atlas import loss_watch
from inscape.core import track
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.model import Model
from inscape.training import TrainConfig, train
from inscape_microworld import corpus, open_model, write_corpus
from inscape_microworld.benchmark import Check, Row

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
VARIANTS = ("topk", "batch_topk", "jumprelu")
WARMUP, DECAY, DEAD, RAMP = 0.05, 0.2, 0.1, 0.1
HELD_OUT, CALIBRATION = 60_000, 8192


@dataclass(frozen=True)
class World:
    """A model, what it reads, and the size of the dictionaries at its middle layer."""

    model: Model
    text: Path
    held_out: Path
    d_dict: int
    k: int
    tokens: int
    batch: int = 1024

    @property
    def site(self) -> str:
        """The middle layer's residual stream."""
        return f"resid_post.{self.model.num_layers // 2 - 1}"

    @property
    def steps(self) -> int:
        """Of a training."""
        return self.tokens // self.batch

    def asked(self, variant: str, seed: int) -> TrainConfig:
        """Our training."""
        return TrainConfig(
            d_dict=self.d_dict,
            k=self.k,
            tokens=self.tokens,
            batch_size=self.batch,
            variant=variant,
            seed=seed,
        )


def microworld(folder: Path) -> World:
    """The bundled model on its corpus."""
    text, held_out = folder / "corpus.jsonl", folder / "held-out.jsonl"
    if not text.is_file():
        write_corpus(text, corpus(20_000))
        write_corpus(held_out, corpus(3_000, seed=77))
    return World(open_model(), text, held_out, 2048, 16, 300_000)


def stories(folder: Path) -> World:
    """The story model on its stories; the last tenth is held out."""
    source = SHARED / "text" / "stories.txt"
    if not source.is_file():
        raise Absent(f"{source} is not there", expected="the shared data beside the checkout")
    text, held_out = folder / "stories.txt", folder / "held-out.txt"
    if not text.is_file():
        whole = source.read_text()
        cut = whole.rindex("\n\n", 0, len(whole) * 9 // 10)
        folder.mkdir(parents=True, exist_ok=True)
        text.write_text(whole[:cut])
        held_out.write_text(whole[cut:])
    return World(Model.open(str(SHARED / "stories260k")), text, held_out, 1024, 8, 300_000)


WORLDS: Mapping[str, Callable[[Path], World]] = {"microworld": microworld, "stories": stories}


def beside(name: str, variant: str, run: Run) -> Row:
    """Ours and the peers' on one model, of one variant and seed."""
    folder = run.folder.parent / f"quality-{name}"
    world = WORLDS[name](folder)
    store = harvest(world.model, world.text, [world.site], folder / "activations")
    watch = loss_watch(world.model, world.held_out, max_tokens=HELD_OUT)
    sample = next(store.batches([world.site], CALIBRATION, seed=run.seed + 1))[world.site]
    place = folder / f"{variant}-{run.seed}"
    made = {
        "inscape": train(
            store, world.site, world.site, place, world.asked(variant, run.seed), name="ours"
        )
    }
    for peer in (one for one in PEERS if one in there()):
        made[peer] = PEERS[peer](store, world, variant, run.seed)
    detail = {who: watch.measure(at_l0(found, sample, world.k)) for who, found in made.items()}
    checks = []
    for who, found in detail.items():
        checks += [
            Check(f"{who}, loss recovered", found["loss_recovered"], ""),
            Check(f"{who}, L0", found["l0"], ""),
        ]
        if who != "inscape":
            less = detail["inscape"]["loss_recovered"] - found["loss_recovered"]
            checks.append(Check(f"inscape less {who}", less, "≥ 0"))
    return Row(
        f"quality-{name}-{variant}",
        f"loss recovered on held-out text, {variant}, {world.d_dict} features, k {world.k}",
        tuple(checks),
        samples=f"{world.tokens} tokens of training at {world.site} of {name}, "
        f"up to {HELD_OUT} held out",
        seed=run.seed,
        detail=detail,
    )


def there() -> list[str]:
    """The peers that are installed."""
    return contenders.installed()


def at_l0(dictionary: Dictionary, sample: Tensor, k: int) -> Dictionary:
    """With its thresholds multiplied by one number, so that k features are active on average over
    the rows of `sample`; one without thresholds as it is."""
    threshold = dictionary.weights.get("threshold")
    if threshold is None:
        return dictionary
    pre = dictionary.encoder_input(sample) @ dictionary.W_enc.T + dictionary.b_enc
    low, high = 1 / 64, 64.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        active = int(((pre > threshold * middle) & (pre > 0)).sum()) / len(sample)
        low, high = (middle, high) if active > k else (low, middle)
    return Dictionary(dictionary.config, {**dictionary.weights, "threshold": threshold * high})


def saelens(store: ActivationStore, world: World, variant: str, seed: int) -> Dictionary:
    """SAELens' training autoencoder, by the steps of its trainer."""
    from sae_lens.saes import batchtopk_sae, jumprelu_sae, topk_sae
    from sae_lens.saes.sae import TrainStepInput

    torch.manual_seed(seed)
    size: dict[str, Any] = {"d_in": world.model.d_model, "d_sae": world.d_dict}
    rate = world.asked(variant, seed).peak_lr
    sae: Any
    if variant == "topk":
        sae = topk_sae.TopKTrainingSAE(topk_sae.TopKTrainingSAEConfig(**size, k=world.k))
    elif variant == "batch_topk":
        asked = batchtopk_sae.BatchTopKTrainingSAEConfig(**size, k=world.k)
        sae = batchtopk_sae.BatchTopKTrainingSAE(asked)
    else:
        sae = jumprelu_sae.JumpReLUTrainingSAE(
            jumprelu_sae.JumpReLUTrainingSAEConfig(
                **size, jumprelu_sparsity_loss_mode="quadratic", target_l0=world.k
            )
        )
    adam = torch.optim.Adam(sae.parameters(), lr=rate)
    silent = torch.zeros(world.d_dict, dtype=torch.int64)
    scale, batches = _batches(store, world, seed)
    for step in track(range(world.steps), f"SAELens {variant}", unit="steps"):
        x = next(batches)
        for group in adam.param_groups:
            group["lr"] = rate * _schedule(step, world.steps)
        given = TrainStepInput(
            sae_in=x,
            dead_neuron_mask=silent >= DEAD * world.tokens,
            coefficients=dict.fromkeys(sae.get_coefficients(), _risen(step, world.steps)),
            n_training_steps=step,
            is_logging_step=False,
        )
        out = sae.training_forward_pass(step_input=given)
        adam.zero_grad()
        torch.autograd.backward(out.loss)
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        fired = _dense(out.feature_acts).abs().sum(0) > 0
        silent = torch.where(fired, 0, silent + len(x))
    threshold = {
        "topk": None,
        "batch_topk": getattr(sae, "topk_threshold", None),
        "jumprelu": getattr(sae, "threshold", None),
    }[variant]
    norm = sae.W_dec.norm(dim=1)
    if not getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        norm = torch.ones_like(norm)
    weights = {
        "W_enc": sae.W_enc.T * norm[:, None],
        "b_enc": sae.b_enc * norm,
        "W_dec": sae.W_dec / norm[:, None],
        "b_dec": sae.b_dec,
    }
    return _finished(world, weights, threshold, scale)


def dictionary_learning(
    store: ActivationStore, world: World, variant: str, seed: int
) -> Dictionary:
    """dictionary_learning's trainer."""
    from dictionary_learning.trainers import batch_top_k, jumprelu, top_k

    asked: dict[str, Any] = {
        "steps": world.steps,
        "activation_dim": world.model.d_model,
        "dict_size": world.d_dict,
        "layer": 0,
        "lm_name": "none",
        "lr": world.asked(variant, seed).peak_lr,
        "warmup_steps": round(WARMUP * world.steps),
        "seed": seed,
        "device": "cpu",
        "decay_start": round((1 - DECAY) * world.steps),
    }
    trainer: Any
    norm = world.model.d_model**0.5
    if variant == "jumprelu":
        norm = 1.0  # what its bandwidth and the weight of its penalty are made for
        torch.manual_seed(seed)  # it does not take its own
        rise = round(RAMP * world.steps)
        trainer = jumprelu.JumpReluTrainer(**asked, target_l0=world.k, sparsity_warmup_steps=rise)
    else:
        kind = top_k.TopKTrainer if variant == "topk" else batch_top_k.BatchTopKTrainer
        trainer = kind(**asked, k=world.k, threshold_start_step=world.steps // 4)
    trainer.dead_feature_threshold = DEAD * world.tokens
    scale, batches = _batches(store, world, seed, norm)
    for step in track(range(world.steps), f"dictionary_learning {variant}", unit="steps"):
        trainer.update(step, next(batches))
    ae = trainer.ae
    if variant == "jumprelu":
        weights = {"W_enc": ae.W_enc.T, "b_enc": ae.b_enc, "W_dec": ae.W_dec, "b_dec": ae.b_dec}
        return _finished(world, weights, ae.threshold, scale, subtract=ae.apply_b_dec_to_input)
    weights = {
        "W_enc": ae.encoder.weight,
        "b_enc": ae.encoder.bias,
        "W_dec": ae.decoder.weight.T,
        "b_dec": ae.b_dec,
    }
    return _finished(world, weights, ae.threshold if variant != "topk" else None, scale)


PEERS: Mapping[str, Callable[..., Dictionary]] = {
    "SAELens": saelens,
    "dictionary_learning": dictionary_learning,
}


def _schedule(step: int, steps: int) -> float:
    """Our shares of warm-up and decay."""
    rise, fall = max(1, round(WARMUP * steps)), max(1, round(DECAY * steps))
    return min(1.0, (step + 1) / rise, (steps - step) / fall)


def _risen(step: int, steps: int) -> float:
    """The share of its weight that a penalty has; those that are always there are told 1."""
    return min(1.0, step / (RAMP * steps))


def _batches(
    store: ActivationStore, world: World, seed: int, norm: float | None = None
) -> tuple[float, Any]:
    """The scale, and the scaled batches, of this mean norm; by default the root of the width."""
    site = world.site
    norm = world.model.d_model**0.5 if norm is None else norm
    scale = norm / store.site_stats(site).mean_norm
    batches = store.batches([site], world.batch, seed=seed)
    return scale, (batch[site] * scale for batch in batches)


def _dense(acts: Any) -> Tensor:
    """Feature activations, which SAELens keeps sparse in some variants."""
    return acts.to_dense() if acts.is_sparse else acts


def _finished(
    world: World,
    weights: Mapping[str, Tensor],
    threshold: Any,
    scale: float,
    *,
    subtract: bool = True,
) -> Dictionary:
    """As a dictionary that reads activations as they are."""
    own = {key: value.detach().float().contiguous().clone() for key, value in weights.items()}
    own["W_enc"] *= scale
    own["W_dec"] /= scale
    own["b_dec"] /= scale
    if threshold is not None:
        level = torch.as_tensor(threshold).detach().float()
        own["threshold"] = level.expand(world.d_dict).clone()
    config = DictionaryConfig(
        site_in=world.site,
        site_out=world.site,
        d_in=world.model.d_model,
        d_out=world.model.d_model,
        d_dict=world.d_dict,
        k=world.k,
        subtract_b_dec=subtract,
        kind="topk" if threshold is None else "threshold",
    )
    return Dictionary(config, own)


FIGURES: Mapping[str, Measurement] = {
    f"quality-{name}-{variant}": Measurement(partial(beside, name, variant))
    for name in WORLDS
    for variant in VARIANTS
}
