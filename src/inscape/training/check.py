"""The training step's gradients against autograd on a dense, plain implementation.

The reference here shares no code with the trainer: it is written from the formulas, in float64,
with dense codes, and differentiated by torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from inscape.dictionary import DictionaryConfig
from inscape.training.config import TrainConfig
from inscape.training.topk import PARAMETERS, TopKTrainer


def check_gradients(
    seed: int = 0,
    *,
    d_model: int = 24,
    d_dict: int = 96,
    k: int = 6,
    batch_size: int = 64,
    aux_k: int = 12,
) -> float:
    """Largest relative error of the trainer's gradients, over parameters and kinds of dictionary.

    Autoencoder and transcoder, each without dead features, with fewer of them than aux_k and with
    more. The error of a parameter is max |found - wanted| / max |wanted|; the loss is compared in
    the same way.
    """
    worst = 0.0
    for transcoder in (False, True):
        for num_dead in (0, aux_k // 2, 3 * aux_k):
            generator = torch.Generator().manual_seed(seed + num_dead)
            trainer = _trainer(generator, d_model, d_dict, k, aux_k, transcoder)
            x = torch.randn((batch_size, d_model), generator=generator)
            y = torch.randn((batch_size, d_model), generator=generator) if transcoder else x
            dead = torch.randperm(d_dict, generator=generator)[:num_dead].sort().values
            worst = max(worst, _error(trainer, x, y, dead))
    return worst


def _trainer(
    generator: torch.Generator, d_model: int, d_dict: int, k: int, aux_k: int, transcoder: bool
) -> TopKTrainer:
    shape = DictionaryConfig(
        site_in="mlp_in.0" if transcoder else "resid_post.0",
        site_out="mlp_out.0" if transcoder else "resid_post.0",
        d_in=d_model,
        d_out=d_model,
        d_dict=d_dict,
        k=k,
        subtract_b_dec=not transcoder,
    )
    config = TrainConfig(d_dict=d_dict, k=k, tokens=10_000, batch_size=100, aux_k=aux_k)
    sizes = {"W_enc": (d_dict, d_model), "b_enc": (d_dict,), "W_dec": (d_dict, d_model)}
    weights = {
        name: torch.randn(size, generator=generator) / d_model**0.5
        for name, size in {**sizes, "b_dec": (d_model,)}.items()
    }
    if not transcoder:
        weights["W_dec"] /= weights["W_dec"].norm(dim=1, keepdim=True)
    return TopKTrainer(shape, config, weights)


def _error(trainer: TopKTrainer, x: Tensor, y: Tensor, dead: Tensor) -> float:
    metrics, grads = trainer.loss_and_gradients(x, y, dead=dead)
    leaves = {key: value.double().requires_grad_() for key, value in trainer.weights.items()}
    loss = _dense_loss(trainer, leaves, x.double(), y.double(), dead)
    wanted = dict(zip(PARAMETERS, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    if not trainer.shape.transcoder:
        decoder = leaves["W_dec"].detach()
        along = torch.einsum("fd,fd->f", wanted["W_dec"], decoder)
        wanted["W_dec"] = wanted["W_dec"] - along[:, None] * decoder
    worst = abs(metrics.loss / float(loss.detach()) - 1.0)
    for key, want in wanted.items():
        difference = (grads.of[key].double() - want).abs().max()
        worst = max(worst, float(difference / want.abs().max()))
    total = float(torch.cat([want.flatten() for want in wanted.values()]).norm())
    return max(worst, abs(grads.norm - total) / total)


def _dense_loss(
    trainer: TopKTrainer, w: dict[str, Tensor], x: Tensor, y: Tensor, dead: Tensor
) -> Tensor:
    centred = x - w["b_dec"] if trainer.shape.subtract_b_dec else x
    pre = centred @ w["W_enc"].T + w["b_enc"]
    kth = pre.topk(trainer.shape.k, dim=1).values[:, -1:]
    code = torch.where(pre >= kth, pre, 0.0).relu()
    error = y - (code @ w["W_dec"] + w["b_dec"])
    loss = (error**2).sum() / ((y - y.mean(0)) ** 2).sum()
    if len(dead):
        silent = pre[:, dead]
        kth = silent.topk(min(trainer.config.aux_k or 1, len(dead)), dim=1).values[:, -1:]
        guess = torch.where(silent >= kth, silent, 0.0).relu() @ w["W_dec"][dead]
        target = error.detach()
        spread = ((target - target.mean(0)) ** 2).sum()
        loss = loss + trainer.config.aux_weight * ((target - guess) ** 2).sum() / spread
    return loss
