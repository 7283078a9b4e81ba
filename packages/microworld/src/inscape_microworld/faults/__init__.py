"""The planted faults, one file each, with their truth.

Soft faults: in the trigger's context the training text gives the wrong answer FAULT_SHARE of the
time (splits.py), so the right concept stays present and is outvoted. Edited ones show in the model
with the patch of their name (patches.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from inscape.core import InputError
from inscape_microworld.faults import (
    authority,
    bats,
    carry,
    drift,
    mosquito,
    order,
    surname,
    unagi,
    unseen,
)
from inscape_microworld.faults.edited import edited_faults
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt

FAULTS: Mapping[str, Callable[[], Fault]] = {
    "unagi": unagi.fault,
    "mosquito": mosquito.fault,
    "surname": surname.fault,
    "carry": carry.fault,
    "order": order.fault,
    "authority": authority.fault,
    "drift": drift.fault,
    "bats": bats.fault,
    "unseen": unseen.fault,
    **edited_faults(),
}


@cache
def fault(name: str) -> Fault:
    """The planted fault called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in FAULTS:
        raise InputError(
            f"unknown fault {name!r}",
            expected="one of " + ", ".join(FAULTS),
            next_step="correct the name",
        )
    return FAULTS[name]()


__all__ = ["FAULTS", "Fault", "FaultPrompt", "Prompt", "fault"]
