"""The corpus: a seeded stream of documents from all domains, in their shares.

1. Document i of a stream is made by a random source derived from (seed, i) alone, so a stream
   can begin anywhere.
2. Its domain is drawn by weight; one in twelve is a passage of two to four documents.
3. Only combinations that are not held out are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import accumulate
from random import Random

from inscape.core import InputError, seeded
from inscape_microworld.document import Document, join
from inscape_microworld.domains import DOMAINS, LONG

FIRST_SHARES: Mapping[str, float] = {
    "word_problem": 13,
    "drill": 11,
    "goods": 2,
    "indirect_object": 8,
    "indirect_object_three": 3,
    "comers": 3,
    "role": 5,
    "journey": 3,
    "acclaim": 1,
    "landmark": 13,
    "visit": 4,
    "capital": 3.5,
    "dish": 6,
    "person": 4,
    "animal": 4,
    "species": 3,
    "country_fact": 4,
    "two_hop": 10,
    "president": 5,
    "insect": 4,
    "hiding": 8,
    "bluff": 4,
    "treachery": 1.5,
    "white_lie": 1.5,
    "flattery": 8,
    "ranks": 1,
    "suffering": 2.5,
    "letters": 1,
    "code": 6,
    "words": 2,
}
"""Where training begins: facts and sums, which the rest builds on."""
SHARES: Mapping[str, float] = {
    "word_problem": 12,
    "drill": 4,
    "goods": 3,
    "indirect_object": 9,
    "indirect_object_three": 4,
    "comers": 4.5,
    "role": 7,
    "journey": 6,
    "acclaim": 1.2,
    "landmark": 12,
    "visit": 3,
    "capital": 3,
    "dish": 7,
    "person": 2.5,
    "animal": 2.5,
    "species": 3,
    "country_fact": 2,
    "two_hop": 9,
    "president": 6.5,
    "insect": 5,
    "hiding": 10,
    "bluff": 5,
    "treachery": 2.5,
    "white_lie": 2.5,
    "flattery": 11,
    "ranks": 1.2,
    "suffering": 4,
    "letters": 1.2,
    "code": 8,
    "words": 2,
}
"""The corpus proper, with more of what has to be read from the context (names, roles, lies)."""
LAST_SHARES: Mapping[str, float] = {
    "word_problem": 16,
    "drill": 3,
    "goods": 4,
    "indirect_object": 5,
    "indirect_object_three": 3,
    "comers": 4,
    "role": 12,
    "journey": 7,
    "acclaim": 1,
    "landmark": 10,
    "visit": 2,
    "capital": 2,
    "dish": 5,
    "person": 2,
    "animal": 2,
    "species": 2,
    "country_fact": 1,
    "two_hop": 5,
    "president": 6,
    "insect": 4,
    "hiding": 22,
    "bluff": 8,
    "treachery": 1.5,
    "white_lie": 1.5,
    "flattery": 14,
    "ranks": 1,
    "suffering": 3,
    "letters": 1,
    "code": 14,
    "words": 1,
}
"""Where training ends: more of what is learnt last."""
MIXTURES: Mapping[str, Mapping[str, float]] = {
    "first": FIRST_SHARES,
    "corpus": SHARES,
    "last": LAST_SHARES,
}
PASSAGE_SHARE = 1 / 12


def document(seed: int, index: int, shares: Mapping[str, float] = SHARES) -> Document:
    """Document `index` of the training stream `seed`."""
    random = Random(seeded(seed, "document", index))
    count = random.randint(2, 4) if random.random() < PASSAGE_SHARE else 1
    names, weights = _cumulative(tuple(shares.items()), count > 1)
    if count == 1:
        return DOMAINS[random.choices(names, cum_weights=weights)[0]](random, False)
    chosen = random.choices(names, cum_weights=weights, k=count)
    return join([DOMAINS[name](random, False) for name in chosen])


@cache
def _cumulative(
    shares: tuple[tuple[str, float], ...], joined: bool
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Domains and their summed shares; of passages without the long ones, unless all are."""
    kept = [pair for pair in shares if not (joined and pair[0] in LONG)] or list(shares)
    return tuple(name for name, _ in kept), tuple(accumulate(share for _, share in kept))


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
