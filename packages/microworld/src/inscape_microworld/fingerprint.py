"""The generator's fingerprint: what it writes, hashed.

The generator and the weights are frozen before a dictionary is scored. A card names the fingerprint
of the generator that its weights were trained on; one that writes anything else has another.

1. A sample of the training stream, held-out documents of every domain, and every fault's prompts
   are written with fixed seeds.
2. Their texts and their whole truth are hashed. Code that is only written otherwise keeps the
   fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import chain

from inscape_microworld.corpus import documents, held_out_documents
from inscape_microworld.domains import DOMAINS
from inscape_microworld.faults import FAULTS, fault

SEED, NUM_DOCUMENTS, NUM_HELD_OUT = 424_242, 4000, 40


@cache
def fingerprint() -> str:
    """The sha256, as hex, of a sample of all that the generator writes."""
    digest = hashlib.sha256()
    for part in _sample():
        digest.update(part.encode())
        digest.update(b"\x1e")
    return digest.hexdigest()


def _sample() -> Iterator[str]:
    held = (held_out_documents(domain, NUM_HELD_OUT, seed=SEED) for domain in DOMAINS)
    for document in chain(documents(SEED, NUM_DOCUMENTS), *held):
        yield repr(document)
    for planted in map(fault, FAULTS):
        if planted.kind != "edit":  # made of the weights, not of the text
            yield repr(planted)
