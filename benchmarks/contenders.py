"""One training step of a sparse autoencoder, by inscape and by other libraries.

Each contender trains the same kind of dictionary on the same batch, with Adam, clipped gradients,
dead features and the auxiliary loss for them. Its step is the library's own, out of its trainer;
what a trainer does beside (logging, loading of data) is left out. Weights lie where the batches do,
on the processor or on a card.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from inscape.dictionary import DictionaryConfig
from inscape.training import Ranks, TrainConfig, Trainer, initial_weights

DEAD_SHARE = 0.05
FAINT = 0.05
"""What the encoder rows of dead features are multiplied by: too faint to be among the k largest,
positive often enough for the auxiliary loss."""


@dataclass(frozen=True)
class Setting:
    """Size of the dictionary and of the batch."""

    d_model: int
    d_dict: int
    k: int
    batch: int

    @property
    def num_dead(self) -> int:
        """Features that never fire."""
        return int(self.d_dict * DEAD_SHARE)


Step = Callable[[Tensor], None]


def ours(
    setting: Setting,
    variant: str = "topk",
    *,
    start: bool = False,
    device: str = "cpu",
    **settings: Any,
) -> Step:
    """inscape; a JumpReLU dictionary as it is at `start`, or where it fires as is aimed at."""
    shape = DictionaryConfig(
        site_in="resid_post.0",
        site_out="resid_post.0",
        d_in=setting.d_model,
        d_out=setting.d_model,
        d_dict=setting.d_dict,
        k=setting.k,
        subtract_b_dec=True,
    )
    config = TrainConfig(
        d_dict=setting.d_dict,
        k=setting.k,
        batch_size=setting.batch,
        variant=variant,
        tokens=1000 * setting.batch,
        dead_tokens=10**12,
        **settings,
    )
    sample = torch.randn(64, setting.d_model)
    weights = initial_weights(shape, sample=sample, target_mean=sample.mean(0), seed=0)
    weights["W_enc"][: setting.num_dead] *= FAINT
    there = {key: value.to(device) for key, value in weights.items()}
    trainer = Trainer(shape, config, there, Ranks(device))
    if variant == "jumprelu":
        pre = sample @ weights["W_enc"].T
        # As many features fire as are aimed at: as in most of a run, whose start is a tenth of it.
        few = float(pre.flatten().kthvalue(pre.numel() - setting.k * len(sample)).values)
        first = trainer.variant.started(pre)  # nothing where few features are asked for
        if not start or first:
            trainer.weights["threshold"].fill_(first["threshold"] if start else few)

    def step(x: Tensor) -> None:
        trainer.silent_tokens[: setting.num_dead] = 10**12
        trainer.step(x, x)

    return step


def sparsify(
    setting: Setting, variant: str = "topk", *, low: bool = False, device: str = "cpu"
) -> Step:
    """sparsify: its coder, with the steps of its trainer for Adam; `low`: bf16 autocast, without
    which it does not run on a card."""
    from sparsify import SparseCoder, SparseCoderConfig

    asked = SparseCoderConfig(num_latents=setting.d_dict, k=setting.k)
    coder = SparseCoder(setting.d_model, asked, device=device)
    with torch.no_grad():
        coder.encoder.weight[: setting.num_dead] *= FAINT
    adam = torch.optim.Adam(coder.parameters(), lr=2e-4)
    dead = torch.arange(setting.d_dict, device=device) < setting.num_dead
    kind = torch.device(device).type

    def step(x: Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        with torch.autocast(kind, torch.bfloat16, enabled=low):
            out = coder(x, dead_mask=dead)
        torch.autograd.backward(out.fvu + out.auxk_loss / 32)
        coder.remove_gradient_parallel_to_decoder_directions()
        torch.nn.utils.clip_grad_norm_(coder.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return step


def saelens(
    setting: Setting, variant: str = "topk", *, low: bool = False, device: str = "cpu"
) -> Step:
    """SAELens: its training autoencoder, with the steps of its trainer; `low`: bf16 autocast."""
    from sae_lens.saes import batchtopk_sae, jumprelu_sae, topk_sae
    from sae_lens.saes.sae import TrainStepInput

    size: dict[str, Any] = {"d_in": setting.d_model, "d_sae": setting.d_dict, "device": device}
    made: Any
    if variant == "topk":
        config = topk_sae.TopKTrainingSAEConfig(**size, k=setting.k)
        made = topk_sae.TopKTrainingSAE(config)
    elif variant == "batch_topk":
        made = batchtopk_sae.BatchTopKTrainingSAE(
            batchtopk_sae.BatchTopKTrainingSAEConfig(**size, k=setting.k)
        )
    else:
        made = jumprelu_sae.JumpReLUTrainingSAE(
            jumprelu_sae.JumpReLUTrainingSAEConfig(
                **size, jumprelu_sparsity_loss_mode="quadratic", target_l0=setting.k
            )
        )
    with torch.no_grad():
        made.W_enc[:, : setting.num_dead] *= FAINT
    adam = torch.optim.Adam(made.parameters(), lr=2e-4)
    dead = torch.arange(setting.d_dict, device=device) < setting.num_dead
    kind = torch.device(device).type
    coefficients = dict.fromkeys(made.get_coefficients(), 1.0)

    def step(x: Tensor) -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=low):
            given = TrainStepInput(
                sae_in=x,
                dead_neuron_mask=dead,
                coefficients=coefficients,
                n_training_steps=1,
                is_logging_step=False,
            )
            loss = made.training_forward_pass(step_input=given).loss
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return step


def dictionary_learning(
    setting: Setting, variant: str = "topk", *, low: bool = False, device: str = "cpu"
) -> Step:
    """dictionary_learning: its trainer's own update; `low`: within bf16 autocast."""
    from dictionary_learning.trainers import batch_top_k, jumprelu, top_k

    size: dict[str, Any] = {
        "steps": 100_000,
        "activation_dim": setting.d_model,
        "dict_size": setting.d_dict,
        "layer": 0,
        "lm_name": "none",
        "device": device,
    }
    trainer: Any
    if variant == "topk":
        trainer = top_k.TopKTrainer(**size, k=setting.k)
        encoder = trainer.ae.encoder.weight
    elif variant == "batch_topk":
        trainer = batch_top_k.BatchTopKTrainer(**size, k=setting.k)
        encoder = trainer.ae.encoder.weight
    else:
        trainer = jumprelu.JumpReluTrainer(**size, target_l0=setting.k)
        encoder = trainer.ae.W_enc.T
    with torch.no_grad():
        encoder[: setting.num_dead] *= FAINT
    kind = torch.device(device).type

    def step(x: Tensor) -> None:
        trainer.num_tokens_since_fired[: setting.num_dead] = 10**12
        with torch.autocast(kind, torch.bfloat16, enabled=low):
            trainer.update(1, x)

    return step


PEERS: dict[str, tuple[str, Callable[..., Step]]] = {
    "sparsify": ("sparsify", sparsify),
    "SAELens": ("sae_lens", saelens),
    "dictionary_learning": ("dictionary_learning", dictionary_learning),
}


def installed() -> list[str]:
    """The peers that are there."""
    return [name for name, (module, _) in PEERS.items() if find_spec(module) is not None]


def named(
    name: str, setting: Setting, variant: str = "topk", *, device: str = "cpu", **settings: Any
) -> Step:
    """The contender of a name: inscape, or a peer, as in "SAELens" or "SAELens autocast".

    On a card a peer's products in fp32 are in TF32, as is usual there.
    """
    if name == "inscape":
        return ours(setting, variant, device=device, **settings)
    peer, _, way = name.partition(" ")
    step = PEERS[peer][1](setting, variant, low=way == "autocast", device=device, **settings)
    return partial(_in_tf32, step) if device.startswith("cuda") else step


def _in_tf32(step: Step, x: Tensor) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        step(x)
    finally:
        torch.set_float32_matmul_precision(before)
