"""Dictionaries of the same size, sparsity and tokens, trained by inscape and by other libraries.

1. Activations are harvested once; every contender sees the same batches in the same order, scaled
   alike (the mean norm is the root of the width: what each of them does by itself, too).
2. A peer is trained by its own step and loss with warm-up and decay over the same shares of the
   run, at its own default learning rate and at ours; the better one on the held-out text counts.
   Windows after which a feature counts as dead are shares of the run for all, since the published
   absolute ones are longer than these runs.
3. Each finished dictionary is spliced into the model: the share of the loss that it recovers on a
   held-out text, and its mean number of active features.
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
from inscape.benchmark import Check, Row
from inscape.core import track
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.microworld import corpus, open_model, write_corpus
from inscape.model import Model
from inscape.training import TrainConfig, default_lr, train

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
VARIANTS = ("topk", "batch_topk")
WARMUP, DECAY, DEAD = 0.05, 0.2, 0.1


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
            d_dict=self.d_dict, k=self.k, tokens=self.tokens, batch_size=self.batch,
            variant=variant, seed=seed,
        )  # fmt: skip


def microworld(folder: Path) -> World:
    """The bundled model on its corpus."""
    text, held_out = folder / "corpus.jsonl", folder / "held-out.jsonl"
    if not text.is_file():
        write_corpus(text, corpus(20_000))
        write_corpus(held_out, corpus(600, seed=77))
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
    measure = loss_watch(world.model, world.held_out).measure
    config = world.asked(variant, run.seed)
    place = folder / f"{variant}-{run.seed}"
    ours = measure(train(store, world.site, world.site, place, config, name="ours"))
    checks = [Check("inscape, loss recovered", ours["loss_recovered"], ""),
              Check("inscape, L0", ours["l0"], "")]  # fmt: skip
    detail: dict[str, Any] = {"inscape": ours}
    for peer in (name for name in ("SAELens", "dictionary_learning") if name in there()):
        tried = {}
        for rate in (DEFAULT_RATE[peer](world), config.peak_lr):
            made = PEERS[peer](store, world, variant, run.seed, rate)
            tried[rate] = measure(made)
        best = max(tried.values(), key=lambda found: found["loss_recovered"])
        detail[peer] = {f"lr {rate:.2g}": found for rate, found in tried.items()}
        checks += [
            Check(f"{peer}, loss recovered", best["loss_recovered"], ""),
            Check(f"{peer}, L0", best["l0"], ""),
            Check(f"inscape less {peer}", ours["loss_recovered"] - best["loss_recovered"], "≥ 0"),
        ]
    return Row(
        f"quality-{name}-{variant}",
        f"loss recovered on held-out text, {variant}, {world.d_dict} features, k {world.k}",
        tuple(checks), samples=f"{world.tokens} tokens of training at {world.site} of {name}, "
        "10,000 held out", seed=run.seed, detail=detail,
    )  # fmt: skip


def there() -> list[str]:
    """The peers that are installed."""
    return contenders.installed()


DEFAULT_RATE: Mapping[str, Callable[[World], float]] = {
    "SAELens": lambda world: 3e-4,
    "dictionary_learning": lambda world: default_lr(world.d_dict, 10**9),  # the published rule
}


def saelens(
    store: ActivationStore, world: World, variant: str, seed: int, rate: float
) -> Dictionary:
    """SAELens' training autoencoder, by the steps of its trainer."""
    from sae_lens.saes import batchtopk_sae, topk_sae
    from sae_lens.saes.sae import TrainStepInput

    torch.manual_seed(seed)
    size: dict[str, Any] = {"d_in": world.model.d_model, "d_sae": world.d_dict, "k": world.k}
    sae: Any
    if variant == "topk":
        sae = topk_sae.TopKTrainingSAE(topk_sae.TopKTrainingSAEConfig(**size))
    else:
        sae = batchtopk_sae.BatchTopKTrainingSAE(batchtopk_sae.BatchTopKTrainingSAEConfig(**size))
    adam = torch.optim.Adam(sae.parameters(), lr=rate)
    silent = torch.zeros(world.d_dict, dtype=torch.int64)
    scale, batches = _batches(store, world, seed)
    for step in track(range(world.steps), f"SAELens {variant}", unit="steps"):
        x = next(batches)
        for group in adam.param_groups:
            group["lr"] = rate * _schedule(step, world.steps)
        given = TrainStepInput(
            sae_in=x, dead_neuron_mask=silent >= DEAD * world.tokens,
            coefficients=dict.fromkeys(sae.get_coefficients(), 1.0), n_training_steps=step,
            is_logging_step=False,
        )  # fmt: skip
        out = sae.training_forward_pass(step_input=given)
        adam.zero_grad()
        torch.autograd.backward(out.loss)
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        fired = _dense(out.feature_acts).abs().sum(0) > 0
        silent = torch.where(fired, 0, silent + len(x))
    threshold = getattr(sae, "topk_threshold", None) if variant != "topk" else None
    norm = sae.W_dec.norm(dim=1)
    if not getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        norm = torch.ones_like(norm)
    weights = {
        "W_enc": sae.W_enc.T * norm[:, None], "b_enc": sae.b_enc * norm,
        "W_dec": sae.W_dec / norm[:, None], "b_dec": sae.b_dec,
    }  # fmt: skip
    return _finished(world, weights, threshold, scale)


def dictionary_learning(
    store: ActivationStore, world: World, variant: str, seed: int, rate: float
) -> Dictionary:
    """dictionary_learning's trainer."""
    from dictionary_learning.trainers import batch_top_k, top_k

    made = top_k.TopKTrainer if variant == "topk" else batch_top_k.BatchTopKTrainer
    trainer: Any = made(
        steps=world.steps, activation_dim=world.model.d_model, dict_size=world.d_dict, k=world.k,
        layer=0, lm_name="none", lr=rate, warmup_steps=round(WARMUP * world.steps),
        decay_start=round((1 - DECAY) * world.steps), threshold_start_step=world.steps // 4,
        seed=seed, device="cpu",
    )  # fmt: skip
    trainer.dead_feature_threshold = DEAD * world.tokens
    scale, batches = _batches(store, world, seed)
    for step in track(range(world.steps), f"dictionary_learning {variant}", unit="steps"):
        trainer.update(step, next(batches))
    ae = trainer.ae
    threshold = ae.threshold if variant != "topk" else None
    weights = {
        "W_enc": ae.encoder.weight, "b_enc": ae.encoder.bias, "W_dec": ae.decoder.weight.T,
        "b_dec": ae.b_dec,
    }  # fmt: skip
    return _finished(world, weights, threshold, scale)


PEERS: Mapping[str, Callable[..., Dictionary]] = {
    "SAELens": saelens,
    "dictionary_learning": dictionary_learning,
}


def _schedule(step: int, steps: int) -> float:
    """Our shares of warm-up and decay."""
    rise, fall = max(1, round(WARMUP * steps)), max(1, round(DECAY * steps))
    return min(1.0, (step + 1) / rise, (steps - step) / fall)


def _batches(store: ActivationStore, world: World, seed: int) -> tuple[float, Any]:
    """The scale, and the scaled batches."""
    site = world.site
    scale = world.model.d_model**0.5 / store.site_stats(site).mean_norm
    batches = store.batches([site], world.batch, seed=seed)
    return scale, (batch[site] * scale for batch in batches)


def _dense(acts: Any) -> Tensor:
    """Feature activations, which SAELens keeps sparse in some variants."""
    return acts.to_dense() if acts.is_sparse else acts


def _finished(
    world: World, weights: Mapping[str, Tensor], threshold: Any, scale: float
) -> Dictionary:
    """As a dictionary that reads activations as they are."""
    own = {key: value.detach().float().contiguous().clone() for key, value in weights.items()}
    own["W_enc"] *= scale
    own["W_dec"] /= scale
    own["b_dec"] /= scale
    if threshold is not None:
        own["threshold"] = torch.full((world.d_dict,), float(threshold))
    config = DictionaryConfig(
        site_in=world.site, site_out=world.site, d_in=world.model.d_model,
        d_out=world.model.d_model, d_dict=world.d_dict, k=world.k, subtract_b_dec=True,
        kind="topk" if threshold is None else "threshold",
    )  # fmt: skip
    return Dictionary(config, own)


FIGURES: Mapping[str, Measurement] = {
    f"quality-{name}-{variant}": Measurement(partial(beside, name, variant))
    for name in WORLDS
    for variant in VARIANTS
}
