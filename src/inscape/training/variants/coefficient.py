"""The weight of a sparsity penalty: given, or adapted to reach the target L0.

1. A given weight rises from 0 over the first fraction `ramp` of the run.
2. If none is given, the goal falls geometrically over that fraction, from the L0 of the first step
   to the target. The logarithm of the weight changes at each step by RATE / num_steps times
   log(L0 / goal), clamped to ±1. Starting the goal at the run's own L0 keeps the weight from
   overshooting: features killed by a strong penalty do not come back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Both were tuned on the small synthetic world of the tests, not on real activations.
RATE = 40.0
MOST = 0.1


class Coefficient:
    """A penalty's weight.

    Args:
        state: where its logarithm and the first L0 are kept, from checkpoint to checkpoint.
        constant: a fixed weight, or None to adapt it. start: the initial adapted weight. ramp:
            fraction of the run over which the weight, or the goal, reaches its final value. target:
            active features per row.
    """

    def __init__(
        self,
        state: dict[str, Tensor],
        constant: float | None,
        *,
        start: float,
        ramp: float,
        target: int,
        num_steps: int,
    ) -> None:
        self.state, self.constant, self.ramp, self.target = state, constant, ramp, target
        self.rate = min(RATE / max(num_steps, 1), MOST)
        if constant is None:
            state["coefficient"] = torch.tensor(math.log(start), dtype=torch.float64)
            state["first_l0"] = torch.zeros((), dtype=torch.float64)

    def value(self, progress: float) -> float:
        """The weight at this fraction of the run."""
        if self.constant is None:
            return math.exp(float(self.state["coefficient"]))
        return self.constant * self._risen(progress)

    def advance(self, l0: float, progress: float) -> None:
        """Update the weight from a step's mean number of active features."""
        if self.constant is not None:
            return
        if not self.state["first_l0"]:
            self.state["first_l0"] = torch.tensor(max(l0, self.target), dtype=torch.float64)
        start = math.log(float(self.state["first_l0"]) / self.target)
        goal = math.log(self.target) + start * (1 - self._risen(progress))
        off = math.log(max(l0, 1e-3)) - goal
        step = self.rate * max(-1.0, min(1.0, off))
        self.state["coefficient"] = self.state["coefficient"] + step

    def _risen(self, progress: float) -> float:
        return min(1.0, progress / self.ramp) if self.ramp else 1.0
