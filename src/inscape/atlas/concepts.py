"""The concepts of a prompt: which features are active on each of its tokens, and which of them the
answer rests on.

1. The prompt is read once: activations, and each feature's effect on the model's next token to
   first order (features/activity.py).
2. On a token features are ranked by strength × rarity: the activation as a share of the largest in
   the index, times -log10 of the share of tokens that the feature is active on. A feature that is
   active nearly everywhere says little, however strong it is.
3. The features with the largest effects are removed one by one, and the model is run again: only
   that is evidence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, log10
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from inscape.atlas.container import Container
from inscape.core import characters, quoted, short, tokens_as_label, whole
from inscape.features import Activity, PromptActivity, prompt_activity
from inscape.intervention import FeatureEdit, edits
from inscape.storage import Result

PER_TOKEN = 8
NUM_REMOVED = 6
NUM_ANSWERS = 5
LEAST_DENSITY = 1e-7  # so that a feature that was never active in the index has a rarity


@dataclass(frozen=True)
class Removal:
    """What the model says without a feature, measured.

    answers: the likeliest next tokens then and those with the model as it is, each with its
    probability without the feature and with it, the likeliest without it first; kept: what is left
    of the probability of the token that the model says.
    """

    answers: tuple[tuple[str, float, float], ...]
    kept: float

    @property
    def answer(self) -> str:
        """The likeliest next token without the feature."""
        return self.answers[0][0]


@dataclass(frozen=True)
class Concept:
    """A feature that a prompt activates.

    Attributes:
        id: dictionary/index. label: its name, None where it has none; kind: of the label; auroc:
            how well the label tells where the feature is active, None where that is not known.
        words: what it is most active on in the indexed text.
        active: (position, activation) of each token of the prompt that it is active on.
        largest, density: its largest activation in the indexed text, and on which share of the
            tokens it is active; None where its dictionary is not indexed.
        effect: what the answer would lose in nats without it, to first order; removed: what it does
            lose, of the features with the largest effects.
    """

    id: str
    label: str | None
    kind: str | None
    auroc: float | None
    words: tuple[str, ...]
    active: tuple[tuple[int, float], ...]
    largest: float | None
    density: float | None
    effect: float
    removed: Removal | None = None

    @property
    def shown(self) -> str:
        """Its label, else the tokens that it is most active on, said to be tokens."""
        return self.label or tokens_as_label(self.words) or "(no label)"

    @property
    def peak(self) -> int:
        """The position of its largest activation."""
        return max(self.active, key=lambda one: one[1])[0]

    def activation(self, position: int) -> float:
        """Its activation on a token, 0 where it is silent."""
        return dict(self.active).get(position, 0.0)

    def strength(self, position: int) -> float | None:
        """The activation as a share of the largest, at most 1; None where that is not known."""
        if not self.largest:
            return None
        return min(1.0, self.activation(position) / self.largest)

    def weight(self, position: int) -> float:
        """What it is ranked by on a token: strength × rarity."""
        strength = self.strength(position)
        if strength is None or self.density is None:
            return self.activation(position)
        return strength * -log10(max(self.density, LEAST_DENSITY))


@dataclass(frozen=True)
class Concepts(Result):
    """A prompt token by token.

    Attributes:
        tokens, counted [pos]: each token as text, and whether features count there (not on special
            tokens and attention sinks).
        answers: the likeliest next tokens with their probabilities, the likeliest first.
        concepts: the strongest features of each token, and those with the largest effects.
        layers: the number of the model's layers.
    """

    SCHEMA: ClassVar[str] = "inscape.prompt"
    MADE_BY: ClassVar[str] = "concepts"

    model: str
    layers: int
    prompt: str
    tokens: tuple[str, ...]
    counted: tuple[bool, ...]
    answers: tuple[tuple[str, float], ...]
    concepts: tuple[Concept, ...]

    def __repr__(self) -> str:
        return f"Concepts({short(self.prompt)}, {len(self.concepts)} features)"

    @property
    def answer(self) -> str:
        """The likeliest next token."""
        return self.answers[0][0]

    def at(self, position: int, count: int | None = None) -> list[Concept]:
        """The features that are active on a token, the strongest and rarest first."""
        whole(position, "position", 0, len(self.tokens) - 1)
        here = [one for one in self.concepts if one.activation(position)]
        return sorted(here, key=lambda one: -one.weight(position))[:count]

    @property
    def removed(self) -> list[Concept]:
        """The features that were removed one by one, the one that cost the answer most first."""
        tried = [one for one in self.concepts if one.removed is not None]
        return sorted(tried, key=lambda one: one.removed.kept if one.removed else 0.0)

    @property
    def deciding(self) -> Concept | None:
        """The feature without which the model gives another answer; None where there is none. Of
        several the one whose removal raises the new answer's probability most: others only disturb
        the old one."""
        gains = {}
        for number, one in enumerate(self.removed):
            if one.removed and one.removed.answer != self.answer:
                _, now, before = one.removed.answers[0]
                gains[number] = now - before
        return self.removed[max(gains, key=gains.__getitem__)] if gains else None

    def summary(self, count: int = 3) -> str:
        """The strongest features of each token, and what the answer rests on, as text."""
        said = ", ".join(f"{quoted(text)} {part:.0%}" for text, part in self.answers)
        lines = [f"{self.prompt}", f"the model goes on with {said}", ""]
        width = max(len(quoted(token)) for token in self.tokens)
        for position, token in enumerate(self.tokens):
            if not self.counted[position]:
                continue
            head = quoted(token)
            for one in self.at(position, count):
                strength = one.strength(position)
                how = f"{one.activation(position):.3g}" if strength is None else f"{strength:.0%}"
                lines.append(f"{head:<{width}}  {how:>4}  {one.shown}  [{one.id}]")
                head = ""
        if self.removed:
            lines += ["", "the likeliest next token when features are removed, one by one:"]
        for one in self.removed:
            found = one.removed
            assert found is not None
            token, now, before = found.answers[0]
            lines.append(
                f"  without {one.shown} [{one.id}]: {quoted(token)} {now:.0%} (before {before:.0%})"
                + f", {quoted(self.answer)} {found.kept:.0%}" * (token != self.answer)
            )
        return "\n".join(lines)


def concepts_of(
    atlas: Container,
    prompt: Any,
    names: Iterable[str] | None = None,
    *,
    per_token: int = PER_TOKEN,
    num_removed: int = NUM_REMOVED,
    removing: Collection[str] = (),
) -> Concepts:
    """See `Atlas.concepts`."""
    whole(per_token, "per_token", 1)
    whole(num_removed, "num_removed", 0)
    chosen = atlas.chosen(names) or atlas.indexed()
    dictionaries = {name: atlas.dictionary(name) for name in chosen}
    found = prompt_activity(atlas.model, dictionaries, prompt)
    everything = [one for name in chosen for one in _concepts(atlas, name, found.of[name])]
    by_effect = sorted(everything, key=lambda one: -abs(one.effect))[:num_removed]
    by_effect += [o for o in everything if o.id in removing and o not in by_effect]
    kept = {one.id for one in by_effect}
    on: dict[int, list[Concept]] = defaultdict(list)
    for one in everything:
        for position, _ in one.active:
            on[position].append(one)
    for position, here in on.items():
        here.sort(key=lambda one: -one.weight(position))
        kept |= {one.id for one in here[:per_token]}
    removals = _removals(atlas, found, [one.id for one in by_effect])
    texts, words = characters(found.prompt.texts), found.prompt.counted.tolist()
    return Concepts(
        model=atlas.model.name,
        layers=atlas.model.num_layers,
        prompt=found.prompt.text,
        tokens=tuple(texts),
        counted=tuple(map(bool, words)),
        answers=_answers(atlas, found),
        concepts=tuple(
            Concept(**{**vars(one), "removed": removals.get(one.id)})
            for one in everything
            if one.id in kept
        ),
    )


def _concepts(atlas: Container, name: str, activity: Activity) -> list[Concept]:
    """Every active feature of a dictionary."""
    index = atlas.features(name) if atlas.is_indexed(name) else None
    labels = atlas.labels(name)
    order = np.argsort(activity.features, kind="stable")
    starts = np.flatnonzero(np.diff(activity.features[order], prepend=-1))
    found = []
    for entries in np.split(order, starts[1:]) if len(order) else []:
        feature = int(activity.features[entries[0]])
        label = None if labels is None else labels.get(feature)
        words = () if label is None else label.words[:4]
        if not words and index is not None:
            words = tuple(index.peak_tokens(feature))
        found.append(
            Concept(
                id=f"{name}/{feature}",
                label=None if label is None else label.name or None,
                kind=None if label is None else label.kind,
                auroc=None if label is None or not isfinite(label.auroc) else label.auroc,
                words=words,
                active=tuple(
                    (int(activity.positions[e]), round(float(activity.values[e]), 4))
                    for e in entries
                ),
                largest=None if index is None else float(index.max[feature]),
                density=None if index is None else float(index.density[feature]),
                effect=float(activity.effects[entries].sum()),
            )
        )
    return found


def _answers(atlas: Container, found: PromptActivity) -> tuple[tuple[str, float], ...]:
    part = found.log_probabilities.exp()
    return tuple((atlas.model.token_text(t), float(part[t])) for t in _likeliest(part))


def _likeliest(part: Tensor) -> list[int]:
    tokens: list[int] = part.topk(min(NUM_ANSWERS, len(part))).indices.tolist()
    return tokens


def _removals(atlas: Container, found: PromptActivity, ids: Sequence[str]) -> dict[str, Removal]:
    """What the model says without each of some features."""
    model, before, removals = atlas.model, found.log_probabilities.exp(), {}
    for id in ids:
        name, _, number = id.rpartition("/")
        edit = FeatureEdit(atlas.dictionary(name), int(number), "ablate")
        logits = model.run(found.prompt, edits=edits(model, [edit]), logits="last").logits
        assert logits is not None
        after = logits[0, -1].softmax(-1)
        tokens = dict.fromkeys([*_likeliest(after), *_likeliest(before)])
        removals[id] = Removal(
            answers=tuple(
                (model.token_text(t), float(after[t]), float(before[t]))
                for t in sorted(tokens, key=lambda t: -float(after[t]))
            ),
            kept=float(after[found.answer]),
        )
    return removals
