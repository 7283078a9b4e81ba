"""How much memory a trace takes, estimated before it starts.

What gradients need of a forward pass grows with the prompt: of each block about a dozen vectors of
the stream and four of its neurons for every token. Where that is more than the limit, only what
enters each block is kept, and a block is computed again whenever a gradient passes it.
"""

from __future__ import annotations

from typing import Literal

from inscape.core import InputError, finite_number, hand_back_memory, total_memory
from inscape.model import Model

GB = 1e9
DEFAULT = 3.0  # GB above the model, from which on blocks are computed again
_STREAM, _NEURONS, _TABLES = 12, 4, 4  # float32 vectors a token and block; tables of all neurons
Grad = Literal[True, "recompute"]


def estimate(model: Model, num_pos: int) -> tuple[float, float, float]:
    """GB above the model: of what is read of a prompt and of all neurons' effects, of a graph of
    gradients that is kept, and of one that is computed again."""
    widths = [model.width(s) for s in model.sites() if s.kind == "mlp_act"]
    neurons = max(widths, default=4 * model.d_model)
    token = 4 * num_pos / GB
    read = token * model.num_layers * (model.d_model + _TABLES * (sum(widths) / model.num_layers))
    block = token * (_STREAM * model.d_model + _NEURONS * neurons)
    return read, model.num_layers * block, model.num_layers * token * model.d_model + block


def settle(grad: Grad) -> None:
    """Hands freed memory back to the system where it is short: computing blocks again leaves gaps
    as large as what is in use."""
    if grad == "recompute":
        hand_back_memory()


def choose(model: Model, num_pos: int, limit: float | None = None) -> Grad:
    """Whether a prompt's graph is kept whole or computed again, within `limit` GB above the model
    (default: kept up to 3 GB, and never more than the machine has).

    Raises:
        InputError: it takes more than the limit; how much is said.
    """
    most = (total_memory() or 1e12) / GB if limit is None else finite_number(limit, "memory")
    read, whole, again = estimate(model, num_pos)
    if read + whole <= (min(most, DEFAULT) if limit is None else most):
        return True
    if read + again > most:
        raise InputError(
            f"memory is {most:.3g} GB",
            expected=f"at least {read + again:.2g} GB above the model for {num_pos} tokens",
            next_step="allow more, or give a shorter prompt",
        )
    return "recompute"
