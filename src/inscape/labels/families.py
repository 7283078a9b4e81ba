"""Families: one coarse feature of a dictionary and the finer ones that it is split into, in another
dictionary (of another width or layer) or in the same one.

1. Both write into the same space: of each fine feature the NEAREST coarse ones by the cosine of
   decoders are looked at, where that is at least COSINE.
2. Both were indexed on the same text: the fine one belongs to the coarse one if it fires more
   rarely and most of its tokens (WITHIN) are tokens of the coarse one, LIFT times as many as by
   chance. (Feature splitting: Bricken et al. 2023, "Towards monosemanticity".)
3. A fine feature belongs to the coarse one that has most of its tokens. A family is a coarse
   feature with at least two fine ones.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from inscape.core import InputError, track
from inscape.dictionary import Dictionary
from inscape.features import FeatureIndex

COSINE, NEAREST = 0.3, 4
WITHIN, LIFT = 0.5, 3.0
RARER = 0.7  # as often as the coarse one, at most
_BLOCK = 1024


@dataclass(frozen=True)
class Part:
    """A finer feature. cosine: of its decoder with the coarse one's; within: the share of its
    tokens on which the coarse one fires; of_coarse: the share of the coarse one's tokens on which
    it fires."""

    feature: int
    cosine: float
    within: float
    of_coarse: float


@dataclass(frozen=True)
class Family:
    """A coarse feature and its finer ones, those with the larger share of its tokens first.

    covered: the share of the coarse feature's tokens on which at least one of them fires.
    """

    coarse: str
    fine: str
    feature: int
    parts: tuple[Part, ...]
    covered: float


def families(
    coarse: tuple[Dictionary, FeatureIndex], fine: tuple[Dictionary, FeatureIndex]
) -> list[Family]:
    """The families of two dictionaries with their indexes, the largest first; of one dictionary
    with itself too.

    Raises:
        InputError: they write into different spaces, or were indexed on different texts.
    """
    (wide, indexed), (narrow, inside) = coarse, fine
    if wide.config.several or narrow.config.several or wide.config.d_out != narrow.config.d_out:
        raise InputError(
            f"{wide.name} and {narrow.name} do not write into one space",
            expected="two dictionaries of one site each, of the same width",
        )
    if indexed.manifest["tokens"] != inside.manifest["tokens"]:
        raise InputError(
            f"{wide.name} and {narrow.name} are indexed on different texts",
            expected="the same text, to see which features fire together",
            next_step="index both in one command",
        )
    same = wide.name == narrow.name
    rows = [
        torch.nn.functional.normalize(d.W_dec.detach().float().cpu(), dim=1) for d in (wide, narrow)
    ]
    parts: dict[int, list[Part]] = defaultdict(list)
    starts = range(0, len(rows[1]), _BLOCK)
    for start in track(starts, "families", unit="blocks"):
        cosines = rows[1][start : start + _BLOCK] @ rows[0].T
        best = cosines.topk(min(NEAREST + same, len(rows[0])), dim=1)
        for offset, (values, near) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ):
            feature = start + offset
            found = [
                (part, number)
                for value, number in zip(values, near, strict=True)
                if value >= COSINE and not (same and number == feature)
                for part in [_part(indexed, inside, number, feature, value)]
                if part is not None
            ]
            if found:
                part, number = max(found, key=lambda one: one[0].within)
                parts[number].append(part)
    made = [
        _family(indexed, inside, number, members)
        for number, members in parts.items()
        if len(members) > 1
    ]
    return sorted(made, key=lambda family: (-len(family.parts), -family.covered, family.feature))


def _part(
    coarse: FeatureIndex, fine: FeatureIndex, number: int, feature: int, cosine: float
) -> Part | None:
    most, least = int(coarse.num_active[number]), int(fine.num_active[feature])
    if not 0 < least <= RARER * most:
        return None
    rows, other = coarse.rows_of(number)[0], fine.rows_of(feature)[0]
    both = np.intersect1d(rows, other, assume_unique=True).size
    within = both / least
    if within < max(WITHIN, min(1.0, LIFT * most / coarse.num_considered)):
        return None
    return Part(feature, cosine, within, both / most)


def _family(coarse: FeatureIndex, fine: FeatureIndex, number: int, parts: list[Part]) -> Family:
    rows = coarse.rows_of(number)[0]
    any_of = np.unique(np.concatenate([fine.rows_of(part.feature)[0] for part in parts]))
    covered = np.isin(rows, any_of, assume_unique=True).mean()
    ordered = tuple(sorted(parts, key=lambda part: -part.of_coarse))
    return Family(coarse.dictionary, fine.dictionary, number, ordered, float(covered))
