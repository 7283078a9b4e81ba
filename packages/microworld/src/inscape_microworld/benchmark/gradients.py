"""The training step's gradients against autograd on a dense, plain implementation.

The reference here shares no code with the trainer or its variants: it is written from the formulas,
in float64, with dense codes, and differentiated by torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from inscape.dictionary import DictionaryConfig, joined
from inscape.training.config import TrainConfig
from inscape.training.trainer import Trainer

Leaves = dict[str, Tensor]
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("topk", {}),
    ("batch_topk", {}),
    ("matryoshka", {"prefixes": (0.25, 0.5, 1.0)}),
    ("relu", {"coefficient": 0.2}),
    ("jumprelu", {"penalty": "l0", "threshold": 0.1, "bandwidth": 0.05}),
    (
        "jumprelu",
        {
            "penalty": "tanh",
            "threshold": 0.1,
            "bandwidth": 0.05,
            "coefficient": 0.2,
            "ramp": 0.5,
            "wake": 0.1,
        },
    ),
    ("gated", {"coefficient": 0.2}),
)
"""Variants with their settings, such that every term has a part in the gradient."""
KINDS = ("autoencoder", "transcoder", "skip transcoder", "crosscoder", "cross-layer transcoder")


def check_gradients(
    seed: int = 0,
    *,
    d_model: int = 24,
    d_dict: int = 96,
    k: int = 6,
    batch_size: int = 64,
    aux_k: int = 12,
) -> float:
    """Largest relative error of the trainer's gradients, over parameters, variants and kinds.

    Every variant as every kind that it has, each without dead features, with fewer of them than
    aux_k and with more. The error of a parameter is
    max |found - wanted| / max |wanted|; the loss is compared in the same way.
    """
    size = {"d_model": d_model, "d_dict": d_dict, "k": k, "aux_k": aux_k}
    return max(
        _error(trainer, batch_size, num_dead, generator)
        for variant, options in CASES
        for kind in KINDS
        if (variant, kind) != ("matryoshka", "cross-layer transcoder")
        for num_dead in (0, aux_k // 2, 3 * aux_k)
        for generator in (torch.Generator().manual_seed(seed + num_dead),)
        for trainer in (_trainer(generator, variant, options, kind, **size),)
    )


def _trainer(
    generator: torch.Generator,
    variant: str,
    options: dict[str, Any],
    kind: str,
    *,
    d_model: int,
    d_dict: int,
    k: int,
    aux_k: int,
) -> Trainer:
    transcoder = kind.endswith("transcoder")
    layers = range(3 if kind == "cross-layer transcoder" else 2 if kind == "crosscoder" else 1)
    read, written = ("mlp_in", "mlp_out") if transcoder else ("resid_post", "resid_post")
    third = d_model // 3
    shape = DictionaryConfig(
        site_in=joined(f"{read}.{layer}" for layer in layers),
        site_out=joined(f"{written}.{layer}" for layer in layers),
        d_in=d_model,
        d_out=d_model,
        d_dict=d_dict,
        k=k,
        subtract_b_dec=not transcoder,
        skip=kind == "skip transcoder",
        widths=((), (third, d_model - third), (third,) * 3)[len(layers) - 1],
    )
    config = TrainConfig(
        d_dict=d_dict,
        k=k,
        tokens=10_000,
        batch_size=100,
        aux_k=aux_k,
        aux_weight=1 / 32,
        variant=variant,
        options=options,
        skip=shape.skip,
    )
    sizes = {name: shape.shapes()[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    weights = {
        name: torch.randn(size, generator=generator) / d_model**0.5 for name, size in sizes.items()
    }
    trainer = Trainer(shape, config, weights)
    for name, value in trainer.weights.items():
        if name not in weights:  # what begins alike, or at zero, shows little
            value += 0.05 * torch.randn(value.shape, generator=generator)
    if trainer.variant.unit_decoder:
        trainer.weights["W_dec"] /= trainer.weights["W_dec"].norm(dim=1, keepdim=True)
    trainer.num_steps = config.num_steps * 9 // 10  # every ramp has risen
    return trainer


def _error(trainer: Trainer, batch_size: int, num_dead: int, generator: torch.Generator) -> float:
    shape = trainer.shape
    x = torch.randn((batch_size, shape.d_in), generator=generator)
    y = torch.randn((batch_size, shape.d_out), generator=generator) if shape.transcoder else x
    dead = torch.randperm(shape.d_dict, generator=generator)[:num_dead].sort().values
    metrics, grads = trainer.loss_and_gradients(x, y, dead=dead)
    leaves = {key: value.double().requires_grad_() for key, value in trainer.weights.items()}
    loss = _Dense(trainer, leaves, x.double(), y.double()).loss(dead)
    wanted = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    if trainer.variant.unit_decoder:
        decoder = leaves["W_dec"].detach()
        along = torch.einsum("fd,fd->f", wanted["W_dec"], decoder)
        wanted["W_dec"] = wanted["W_dec"] - along[:, None] * decoder
    worst = abs(metrics.loss / float(loss.detach()) - 1.0)
    for key, want in wanted.items():
        difference = (grads.of[key].double() - want).abs().max()
        worst = max(worst, float(difference / want.abs().max()))
    total = float(torch.cat([want.flatten() for want in wanted.values()]).norm())
    return max(worst, abs(grads.norm - total) / total)


class _Jump(torch.autograd.Function):
    """pre where it is above the threshold; the threshold's derivative by a rectangular kernel."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return pre * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        inside = ((pre - threshold).abs() < ctx.width / 2) * grad
        return grad * (pre > threshold), -(threshold / ctx.width * inside).sum(0), None


class _Step(torch.autograd.Function):
    """1 where pre is above the threshold."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return (pre > threshold).to(pre)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        inside = ((pre - threshold).abs() < ctx.width / 2) * grad
        return None, -(inside / ctx.width).sum(0), None


class _Dense:
    """The loss from the formulas."""

    def __init__(self, trainer: Trainer, w: Leaves, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.w = _dense(w, len(trainer.shape.widths)) if trainer.shape.cross_layer else w
        w = self.w
        self.trainer, self.config, self.k = trainer, trainer.config, trainer.config.k
        centred = x - w["b_dec"] if trainer.shape.subtract_b_dec else x
        self.read = centred @ w["W_enc"].T
        self.pre = self.read + w["b_enc"]
        self.spread = ((y - y.mean(0)) ** 2).sum()

    def loss(self, dead: Tensor) -> Tensor:
        """All of it."""
        made: tuple[Tensor, Tensor] = getattr(self, f"_{self.config.variant}")()
        (code, total), error = made, self.y
        for end in self._prefixes():
            error = self.y - self._decode(code, end)
            total = total + (error**2).sum() / self.spread
        if len(dead):
            total = total + self._auxiliary(error.detach(), dead)
        return total

    def _prefixes(self) -> Iterator[int]:
        for share in self.config.options.get("prefixes", (1.0,)):
            yield round(share * self.trainer.shape.d_dict)

    def _decode(self, code: Tensor, end: int) -> Tensor:
        out = code[:, :end] @ self.w["W_dec"][:end] + self.w["b_dec"]
        return out + self.x @ self.w["W_skip"].T if "W_skip" in self.w else out

    def _auxiliary(self, error: Tensor, dead: Tensor) -> Tensor:
        guess = _largest(self.pre[:, dead], self.config.aux_k or 1) @ self.w["W_dec"][dead]
        spread = ((error - error.mean(0)) ** 2).sum()
        return self.config.aux_loss_weight * ((error - guess) ** 2).sum() / spread

    def _mean(self, amounts: Tensor) -> Tensor:
        """A penalty of the mean row, in units of the unexplained variance."""
        return float(self.config.options["coefficient"]) * amounts.sum() / self.spread

    def _norms(self) -> Tensor:
        if self.trainer.shape.several and not self.trainer.shape.transcoder:
            parts = torch.split(self.w["W_dec"], list(self.trainer.shape.widths), dim=1)
            return sum((part.square().sum(1).sqrt() for part in parts), self.y.new_zeros(()))
        return self.w["W_dec"].square().sum(1).sqrt()

    def _topk(self) -> tuple[Tensor, Tensor]:
        return _largest(self.pre, self.k), self.pre.new_zeros(())

    def _batch_topk(self) -> tuple[Tensor, Tensor]:
        flat = self.pre.reshape(1, -1)
        return _largest(flat, self.k * len(self.pre)).reshape(self.pre.shape), flat.new_zeros(())

    _matryoshka = _batch_topk

    def _relu(self) -> tuple[Tensor, Tensor]:
        code = self.pre.relu()
        return code, self._mean(code * self._norms())

    def _jumprelu(self) -> tuple[Tensor, Tensor]:
        width = float(self.trainer.variant.state["bandwidth"])
        threshold = self.w["threshold"]
        code = _jump(self.pre, threshold, width)
        if self.config.options["penalty"] == "l0":
            l0 = _step(self.pre, threshold, width).sum(1).mean()
            return code, (l0 / self.k - 1) ** 2
        inactive = (self.pre <= threshold) * (threshold - self.pre) * self._norms()
        silent = self.config.options["wake"] * inactive.sum() / self.spread
        return code, self._mean(torch.tanh(4 * code * self._norms())) + silent

    def _gated(self) -> tuple[Tensor, Tensor]:
        gate = self.pre.relu()
        opened = (self.pre > 0) * (self.w["r_mag"].exp() * self.read + self.w["b_mag"])
        frozen = {key: self.w[key].detach() for key in ("W_dec", "b_dec")}
        error = self.y - (gate @ frozen["W_dec"] + frozen["b_dec"])
        if "W_skip" in self.w:
            error = error - self.x @ self.w["W_skip"].detach().T
        penalty = self._mean(gate * self._norms()) + (error**2).sum() / self.spread
        return opened.relu(), penalty


def _dense(w: Leaves, num: int) -> Leaves:
    """The weights of a cross-layer transcoder with all their zeros."""
    size, width = len(w["b_enc"]) // num, len(w["b_dec"]) // num
    encoder = w["W_enc"].new_zeros((num * size, num * width))
    decoder, first = encoder.clone(), 0
    for layer in range(num):
        own = slice(layer * size, (layer + 1) * size)
        encoder[own, layer * width : (layer + 1) * width] = w["W_enc"][own]
        rows = w["W_dec"][first : first + size * (num - layer)]
        decoder[own, layer * width :] = rows.reshape(size, (num - layer) * width)
        first += len(rows)
    return {**w, "W_enc": encoder, "W_dec": decoder}


def _jump(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    found: Tensor = _Jump.apply(pre, threshold, width)  # type: ignore[no-untyped-call]
    return found


def _step(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    found: Tensor = _Step.apply(pre, threshold, width)  # type: ignore[no-untyped-call]
    return found


def _largest(pre: Tensor, k: int) -> Tensor:
    """The k largest of each row where positive, 0 elsewhere."""
    kth = pre.topk(min(k, pre.shape[1]), dim=1).values[:, -1:]
    return torch.where(pre >= kth, pre, 0.0).relu()
