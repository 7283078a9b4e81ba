"""Resampling: dead features are re-initialised where the reconstruction is worst.

1. It happens `TrainConfig.resample` times, evenly over the first half of the run, after a step.
2. For each dead feature a row of that step's batch is drawn with a probability proportional to its
   squared error, squared.
3. Its direction becomes the feature's decoder row and, scaled, its encoder row: to a fifth of the
   mean encoder norm of live features as published, or to all of it for topk kinds, where a weaker
   feature would not reach the k largest. Bias and Adam moments become 0; it counts as alive.

Autoencoders only: it made transcoders worse (0.21 of the variance unexplained became 0.23 to 0.26,
in the tests' world).

Bricken et al. 2023, "Towards monosemanticity", appendix "Neuron resampling". Draws derive from the
seed and the step number, so that a resumed run is bit-identical.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.core import InputError, seeded
from inscape.dictionary import DictionaryConfig
from inscape.training.config import TrainConfig
from inscape.training.ranks import Ranks
from inscape.training.variants import variant_class

PUBLISHED, TOPK = 0.2, 1.0


def check(config: TrainConfig, shape: DictionaryConfig, ranks: Ranks) -> None:
    """Refuse configurations without support for resampling.

    Raises:
        InputError: several processes, a transcoder, or a variant whose features have parameters of
            their own.
    """
    if not config.resample:
        return
    has_parameters = variant_class(config.variant).name in ("jumprelu", "gated")
    for wrong, what in (
        (not ranks.alone, "several processes"),
        (shape.transcoder, "a transcoder"),
        (has_parameters, f"variant {config.variant!r}"),
    ):
        if wrong:
            raise InputError(
                f"{what} cannot have its dead features resampled",
                expected="one process, and an autoencoder of a topk kind or relu",
                next_step="leave resampling out: the auxiliary loss revives dead features too",
            )


def due(step: int, config: TrainConfig) -> bool:
    """Whether dead features are re-initialised after a step (counted from 1)."""
    half = max(1, config.num_steps // 2)
    return step <= half and step * config.resample // half > (step - 1) * config.resample // half


def resample(
    weights: dict[str, Tensor],
    moments: tuple[dict[str, Tensor], dict[str, Tensor]],
    dead: Tensor,
    rows: Float[Tensor, "batch d_in"],
    errors: Float[Tensor, "batch d_out"],
    *,
    fraction: float,
    seed: int,
) -> None:
    """Re-initialise the dead features in place.

    Args:
        weights, moments: of the training. dead: feature indices. rows: the encoder's input. errors:
            target minus reconstruction. fraction: of the live features' mean norm.
    """
    chances = errors.double().square().sum(1).square().cpu()
    if not len(dead) or not float(chances.sum()) > 0:
        return
    generator = torch.Generator().manual_seed(seeded(seed, "resampling") % 2**62)
    drawn = torch.multinomial(chances, len(dead), replacement=True, generator=generator)
    found = rows[drawn.to(rows.device)]
    directions = found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)
    alive = torch.ones(len(weights["W_enc"]), dtype=torch.bool, device=dead.device)
    alive[dead] = False
    norms = weights["W_enc"][alive].norm(dim=1)
    scale = fraction * (float(norms.mean()) if len(norms) else 1.0)
    weights["W_enc"][dead] = scale * directions
    weights["b_enc"][dead] = 0.0
    weights["W_dec"][dead] = directions
    for tensors in moments:
        for key in ("W_enc", "b_enc", "W_dec"):
            tensors[key][dead] = 0.0
