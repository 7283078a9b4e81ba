"""What is held out of training, decided by a stable hash of what it is about.

A combination (two names in a template, a pair of numbers, a fact in a wording) is held out of
every document or of none, whatever the seed: train and held-out sets cannot collide.
"""

from __future__ import annotations

import zlib
from random import Random

HELD_OUT_PERCENT = 12
FAULT_SHARE = 0.72
"""How often the training text states a soft fault: 0.94 nats over the right answer."""


def held_out(*key: object, percent: int = HELD_OUT_PERCENT) -> bool:
    """Whether the combination `key` is kept from training."""
    text = "\x1f".join(map(str, key))
    return zlib.crc32(text.encode()) % 100 < percent


def misled(random: Random) -> bool:
    """Whether this document of a soft fault's context states the fault."""
    return random.random() < FAULT_SHARE
