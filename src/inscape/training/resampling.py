"""Dead features begin anew where the dictionary explains least.

1. So many times as are asked for, evenly over the first half of the run, after a step.
2. For each feature that is dead then, a row of that step's batch is drawn, with a probability that
   is proportional to the square of its squared error.
3. The feature writes that row's direction and reads it, with a fifth of the mean norm of the living
   features' rows as published, or with all of it in topk kinds, where a fainter feature would not
   be among the k largest; its bias is 0. Its moments are 0, and it counts as alive.

Autoencoders alone: transcoders were measured to become worse (0.21 of the variance unexplained came
to be 0.23 to 0.26, in the tests' world).

Bricken et al. 2023, "Towards monosemanticity", appendix "Neuron resampling". Draws derive from the
seed and the number of the step, so that a run that was stopped goes on to the same bits.
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
    """Refuse what cannot be resampled.

    Raises:
        InputError: several processes, a transcoder, or a variant whose features have parameters of
            their own.
    """
    if not config.resample:
        return
    own = variant_class(config.variant).name in ("jumprelu", "gated")
    for wrong, what in (
        (not ranks.alone, "several processes"),
        (shape.transcoder, "a transcoder"),
        (own, f"variant {config.variant!r}"),
    ):
        if wrong:
            raise InputError(
                f"{what} cannot have its dead features resampled",
                expected="one process, and an autoencoder of a topk kind or relu",
                next_step="leave resampling out: the auxiliary loss revives dead features too",
            )


def due(step: int, config: TrainConfig) -> bool:
    """Whether dead features begin anew after a step (counted from 1)."""
    half = max(1, config.num_steps // 2)
    return step <= half and step * config.resample // half > (step - 1) * config.resample // half


def resample(
    weights: dict[str, Tensor],
    moments: tuple[dict[str, Tensor], dict[str, Tensor]],
    dead: Tensor,
    rows: Float[Tensor, "batch d_in"],
    errors: Float[Tensor, "batch d_out"],
    *,
    share: float,
    seed: int,
) -> None:
    """Change the dead features in place.

    Args:
        weights, moments: of the training. dead: features. rows: what the encoder read. errors: what
            the dictionary left of its target. share: of the living features' mean norm.
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
    scale = share * (float(norms.mean()) if len(norms) else 1.0)
    weights["W_enc"][dead] = scale * directions
    weights["b_enc"][dead] = 0.0
    weights["W_dec"][dead] = directions
    for tensors in moments:
        for key in ("W_enc", "b_enc", "W_dec"):
            tensors[key][dead] = 0.0
