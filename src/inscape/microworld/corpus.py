"""The corpus: a seeded stream of documents from all domains, in their shares.

1. Document i of a stream is made by a random source derived from (seed, i) alone, so a stream
   can begin anywhere.
2. Its domain is drawn by weight; one in twelve is a passage of two to four documents.
3. Only combinations that are not held out are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from inscape.core import InputError, seeded
from inscape.microworld.document import Document, join
from inscape.microworld.domains import DOMAINS

FIRST_SHARES: Mapping[str, float] = {
    "word_problem": 20, "drill": 12, "indirect_object": 9, "landmark": 15, "visit": 5, "dish": 13,
    "capital": 4, "two_hop": 14, "insect": 6, "hiding": 8, "flattery": 2.5, "suffering": 3,
    "president": 2.5, "letters": 1, "words": 5,
}  # fmt: skip
"""Where training begins: facts and sums, which the rest builds on."""
SHARES: Mapping[str, float] = {
    "word_problem": 14, "drill": 5, "indirect_object": 20, "landmark": 10, "visit": 4, "dish": 11,
    "capital": 2, "two_hop": 9, "insect": 5, "hiding": 18, "flattery": 6, "suffering": 3,
    "president": 2.5, "letters": 1, "words": 4,
}  # fmt: skip
"""The corpus proper, with more of what has to be read from the context (names, lies)."""
PASSAGE_SHARE = 1 / 12


def document(seed: int, index: int, shares: Mapping[str, float] = SHARES) -> Document:
    """Document `index` of the training stream `seed`."""
    random = Random(seeded(seed, "document", index))
    count = random.randint(2, 4) if random.random() < PASSAGE_SHARE else 1
    names = random.choices(tuple(shares), tuple(shares.values()), k=count)
    made = [DOMAINS[name](random, False) for name in names]
    return made[0] if count == 1 else join(made)


def documents(
    seed: int, count: int | None = None, *, start: int = 0, shares: Mapping[str, float] = SHARES
) -> Iterator[Document]:
    """The training stream of `seed`, from document `start`, endless without `count`."""
    for name in shares:
        if name not in DOMAINS:
            raise InputError(
                f"unknown domain {name!r}",
                expected="one of " + ", ".join(DOMAINS),
                next_step="correct the name",
            )
    index = start
    while count is None or index < start + count:
        yield document(seed, index, shares)
        index += 1


def held_out_documents(domain: str, count: int, *, seed: int = 0) -> list[Document]:
    """Documents of a domain on combinations that training never shows."""
    if domain not in DOMAINS:
        raise InputError(
            f"unknown domain {domain!r}",
            expected="one of " + ", ".join(DOMAINS),
            next_step="correct the name",
        )
    random = Random(seeded(seed, "held out", domain))
    return [DOMAINS[domain](random, True) for _ in range(count)]
