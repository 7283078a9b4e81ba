"""Which features know a concept: chosen on one half of its texts, judged on the other.

1. The texts of all concepts are read once; every feature, channel of the residual stream, neuron
   and token is pooled over each text (see `features.pooling`).
2. The best feature and the best union of up to three are chosen on the first half of a concept's
   texts and judged on the second (see `detectors`).
3. Beside them, from the same texts: the best channel of the residual stream and the best neuron of
   the dictionaries' layers, with either sign, the best token, and a linear probe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from inscape.core import InputError, track
from inscape.dictionary import Dictionary
from inscape.features import PooledTexts, pool_texts
from inscape.features.pooling import MAX_TOKENS
from inscape.model import Model
from inscape.storage import Result
from inscape.validation.concepts import Concept
from inscape.validation.detectors import Detector, Half, best, columns, features, probe


@dataclass(frozen=True)
class ConceptCheck:
    """One concept: its best feature and union of features, and what stands beside them.

    feature, union: None where no feature fires on enough of the texts; union is the feature alone
    where no other adds to it. num_matching and num_distracting count the texts judged on.
    """

    name: str
    threshold: float
    num_matching: int
    num_distracting: int
    num_left_out: int
    feature: Detector | None
    union: Detector | None
    beside: dict[str, Detector]

    @property
    def auroc(self) -> float:
        """Of the best union or feature; 0.5 where there is none."""
        return 0.5 if self.union is None else self.union.auroc

    @property
    def is_found(self) -> bool:
        """Whether it reaches its threshold."""
        return self.auroc >= self.threshold

    def is_ahead(self, *kinds: str) -> bool:
        """Whether it is better than each of some kinds of those beside it."""
        return all(self.auroc > self.beside[k].auroc for k in kinds if k in self.beside)


@dataclass(frozen=True)
class ConceptChecks(Result):
    """Checks of one or more dictionaries with the concepts of a file.

    dictionaries: name → site and width; labels: what the features named here are called, by id.
    """

    SCHEMA: ClassVar[str] = "inscape.checks"
    MADE_BY: ClassVar[str] = "check"

    model: str
    source: str
    dictionaries: dict[str, str]
    max_tokens: int
    num_texts: int
    checks: tuple[ConceptCheck, ...]
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def features(self) -> list[str]:
        """The features that are named in it, each once."""
        chosen = [one for c in self.checks for one in (c.feature, c.union) if one is not None]
        return list(dict.fromkeys(part for one in chosen for part in one.parts))

    @property
    def missed(self) -> list[ConceptCheck]:
        """Those whose threshold is missed."""
        return [check for check in self.checks if not check.is_found]


def check_concepts(
    model: Model,
    dictionaries: Sequence[Dictionary],
    concepts: Sequence[Concept],
    *,
    source: str = "",
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
) -> ConceptChecks:
    """Checks which concepts some dictionaries have a feature for.

    Args:
        source: what the concepts were read from, for the record.
        max_tokens: how much of each text is read.

    Raises:
        InputError: there is no dictionary.
    """
    if not dictionaries:
        raise InputError("no dictionary to check", expected="at least one")
    number = {text: i for i, text in enumerate(dict.fromkeys(t for c in concepts for t in c.texts))}
    layers = sorted({model.site(site).layer or 0 for d in dictionaries for site in d.reads})
    known = {str(site) for site in model.sites()}
    sites = {
        kind: [site for layer in layers if (site := f"{place}.{layer}") in known]
        for kind, place in (("dimension", "resid_post"), ("neuron", "mlp_act"))
    }
    read = [site for names in sites.values() for site in names]
    pooled = pool_texts(model, [*number], dictionaries, read, max_tokens=max_tokens)
    return ConceptChecks(
        model=model.name,
        source=source,
        dictionaries={d.name: f"{', '.join(d.reads)}, {d.d_dict} features" for d in dictionaries},
        max_tokens=max_tokens,
        num_texts=len(number),
        checks=tuple(
            _checked(model, concept, number, pooled, sites, seed)
            for concept in track(concepts, "check", unit="concepts")
        ),
    )


def _checked(
    model: Model,
    concept: Concept,
    number: Mapping[str, int],
    pooled: PooledTexts,
    sites: Mapping[str, Sequence[str]],
    seed: int,
) -> ConceptCheck:
    rows = np.array([number[text] for text in concept.texts])
    second = np.array(concept.second)
    matches, groups = np.array(concept.matches), np.array(concept.groups)
    halves = [Half(rows[part], matches[part], groups[part]) for part in (~second, second)]
    first = halves[0]
    pairs = [pair for d, table in pooled.dictionaries.items() for pair in features(d, table, first)]
    chosen = {"feature": best(pair[0] for pair in pairs), "union": best(pair[1] for pair in pairs)}
    for kind, names in sites.items():
        chosen[kind] = best(
            found
            for site in names
            for found in columns(pooled.sites[site], first, f"{site}[{{}}]".format)
        )
    tokens = columns(pooled.tokens, first, lambda column: repr(model.token_text(column)))
    chosen["token"] = best(tokens)
    chosen["probe"] = best(
        probe(site, pooled.sites[site], first, seed) for site in sites["dimension"]
    )
    judged = {
        kind: found.judged(kind, first, halves[1], seed) for kind, found in chosen.items() if found
    }
    return ConceptCheck(
        name=concept.name,
        threshold=concept.threshold,
        num_matching=int(halves[1].matches.sum()),
        num_distracting=int((~halves[1].matches).sum()),
        num_left_out=concept.num_left_out,
        feature=judged.pop("feature", None),
        union=judged.pop("union", None),
        beside=judged,
    )
