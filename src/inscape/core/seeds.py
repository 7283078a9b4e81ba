"""Independent random streams from one seed."""

from __future__ import annotations

import hashlib


def seeded(seed: int, *names: str | int) -> int:
    """A seed in [0, 2**63) derived from `seed` and `names`, the same on every machine.

    Streams with different names are independent, so that adding a draw to one
    leaves the others as they were.
    """
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
