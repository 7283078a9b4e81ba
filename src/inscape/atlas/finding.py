"""Finding features of an atlas: by words and their meaning, by token, by what a prompt activates,
by likeness to a direction, by what tells two sets of texts apart, by conditions on figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.documents import documents
from inscape.atlas.container import Container
from inscape.atlas.feature import Feature
from inscape.core import InputError, ModelError, short, tokens_as_label, warn, whole
from inscape.features import Hit, Reference, differences, search_prompt
from inscape.features.conditions import Condition, holding, parse
from inscape.labels import Embedder, Searched, search

FIGURES = {
    "density": float,
    "max": float,
    "mean": float,
    "active": float,
    "auroc": float,
    "near": float,
    "kind": str,
}
"""What conditions can speak of: the share of tokens that a feature is active on, its largest and
mean activation, the number of tokens; the AUROC of its label against random and against near
windows, and the label's kind."""


@dataclass(frozen=True)
class Found:
    """A feature that a search found.

    Attributes:
        label: its name, where it has one.
        kind: of the label: word, concept, prediction, everywhere, unclear; None without a label.
        auroc: how well the label tells where it is active, None where that was not measured.
        tokens: the words, or else the tokens, that it is most active on.
        score: higher is better, comparable within one search.
        where: in what it was found: label, label meaning, peak, window, promoted, meaning, prompt,
            direction, texts, figures.
        why: the same in words.
        figures: the numbers of it by name: share (of the largest activation), density, effect (in
            nats) of a prompt; auroc, low, high, chosen of a difference; those of the conditions.
    """

    id: str
    label: str | None
    kind: str | None
    auroc: float | None
    tokens: tuple[str, ...]
    score: float
    where: tuple[str, ...]
    why: str
    figures: Mapping[str, float]

    @property
    def shown(self) -> str:
        """Its label, else these tokens, said to be tokens."""
        return self.label or tokens_as_label(self.tokens) or "(no label)"


@dataclass(frozen=True)
class Asked:
    """How a search goes about it: see `Atlas.search`."""

    token: bool
    prompt: bool
    where: str | None
    names: Iterable[str] | None
    limit: int
    seed: int


def find(
    atlas: Container,
    text: Any,
    like: Feature | Any | None,
    difference: tuple[Any, Any] | None,
    how: Asked,
) -> list[Found]:
    """See `Atlas.search`."""
    names, limit, where = how.names, whole(how.limit, "limit", 1), how.where
    given = {"text": text, "like": like, "difference": difference}
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1 or not (asked or where):
        raise InputError(
            f"a search by {' and '.join(asked) or 'nothing'}", expected=f"one of {', '.join(given)}"
        )
    if difference is not None:
        return by_difference(atlas, difference, names, limit, where, how.seed)
    if isinstance(like, Feature):
        direction = like.dictionary.W_dec[like.index]
        return by_direction(atlas, direction, names, limit, where, but=like.id)
    if like is not None:
        direction = direction_of(like, int(atlas.record["model"]["d_model"]))
        return by_direction(atlas, direction, names, limit, where)
    if text is None:
        found = by_figures(atlas, str(where), names, limit)
    elif how.prompt:
        found = by_prompt(atlas, text, names, limit, where)
    else:
        found = by_words(atlas, text, names, limit, token=how.token, where=where)
    _tell_unindexed(atlas, names)  # at the end: an error is one line
    return found


def _tell_unindexed(atlas: Container, names: Iterable[str] | None) -> None:
    indexed = atlas.indexed(names)
    if left := [name for name in atlas.chosen(names) if name not in indexed]:
        chosen = "".join(f" --dictionary {name}" for name in left)
        warn(
            f"not indexed and not searched: {', '.join(left)}; "
            f"run: inscape index {atlas.path}{chosen} --text TEXT"
        )


def by_words(
    atlas: Container,
    text: Any,
    names: Iterable[str] | None,
    limit: int,
    *,
    token: bool,
    where: str | None,
) -> list[Found]:
    """Features that `text` describes; with `token` those that fire on it as a token or a word."""
    indexed, conditions = atlas.indexed(names), _conditions(where)
    sources = [
        Searched(
            atlas.features(name),
            atlas.labels(name),
            atlas.meaning(name),
            _allowed(atlas, name, conditions),
        )
        for name in indexed
    ]
    if not token:
        return _found(atlas, search(sources, text, limit=limit, embedder=_embedder(atlas, indexed)))
    hits = [
        hit
        for source in sources
        for hit in source.index.search(text, limit=4 * limit, token=True)
        if source.allowed is None or source.allowed[hit.feature]
    ]
    best = max((hit.score for hit in hits), default=1.0)
    hits = [replace(hit, score=hit.score / best) for hit in hits]
    return _found(atlas, sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit])


def by_prompt(
    atlas: Container, prompt: Any, names: Iterable[str] | None, limit: int, where: str | None
) -> list[Found]:
    """Features that are at work in a prompt (see `search_prompt`)."""
    indexed, conditions = atlas.indexed(names), _conditions(where)
    indexes = {name: atlas.features(name) for name in indexed}
    asked = {
        name: (atlas.dictionary(name), Reference(index.max, index.density))
        for name, index in indexes.items()
    }
    allowed = {name: _allowed(atlas, name, conditions) for name in indexed}
    hits = search_prompt(atlas.model, asked, prompt, limit if where is None else 10**9)
    return _found(atlas, _kept(hits, allowed)[:limit])


def by_direction(
    atlas: Container,
    direction: Tensor,
    names: Iterable[str] | None,
    limit: int,
    where: str | None,
    *,
    but: str | None = None,
) -> list[Found]:
    """Features whose decoder points the same way as `direction` [d_model], by cosine; `but`: the
    one that it is of."""
    conditions, hits = _conditions(where), []
    for name in atlas.some(names) if names is not None else _looked_at(atlas):
        dictionary = atlas.dictionary(name)
        rows = dictionary.W_dec
        if dictionary.config.several or rows.shape[-1] != len(direction):
            continue
        unit = torch.nn.functional.normalize(direction.to(rows), dim=0)
        cosines = (torch.nn.functional.normalize(rows, dim=1) @ unit).float().cpu().numpy()
        allowed = _allowed(atlas, name, conditions)
        if allowed is not None:
            cosines = np.where(allowed, cosines, -np.inf)
        best = np.argsort(-cosines, kind="stable")[: limit + 1]
        hits += [
            Hit(name, int(f), float(cosines[f]), ("direction",), f"cosine {cosines[f]:.2f}")
            for f in best
            if isfinite(cosines[f])
        ]
    hits.sort(key=lambda hit: (-hit.score, hit.id))
    return _found(atlas, [hit for hit in hits if hit.id != but][:limit])


def by_difference(
    atlas: Container,
    sets: tuple[Any, Any],
    names: Iterable[str] | None,
    limit: int,
    where: str | None,
    seed: int,
) -> list[Found]:
    """Features that tell two sets of texts apart (see `differences`): lists, or files."""
    chosen = atlas.some(names) if names is not None else _looked_at(atlas)
    first, second = (_texts(atlas, given) for given in sets)
    dictionaries, conditions = [atlas.dictionary(name) for name in chosen], _conditions(where)
    found = differences(
        atlas.model, dictionaries, first, second, limit=limit if where is None else 1000, seed=seed
    )
    hits = []
    for one in found:
        more = "first" if one.chosen >= 0.5 else "second"
        how = {"max": "its largest activation", "mean": "its mean activation"}[one.pooling]
        why = (
            f"more in the {more} set: {how} in a text has AUROC {one.auroc:.2f} "
            f"({one.low:.2f} to {one.high:.2f}) on texts that it was not chosen on, "
            f"{one.chosen:.2f} on those"
        )
        figures = {name: getattr(one, name) for name in ("auroc", "low", "high", "chosen")}
        hits.append(Hit(one.dictionary, one.feature, one.auroc, ("texts",), why, figures))
    allowed = {name: _allowed(atlas, name, conditions) for name in chosen}
    return _found(atlas, _kept(hits, allowed)[:limit])


def by_figures(
    atlas: Container, where: str, names: Iterable[str] | None, limit: int
) -> list[Found]:
    """Features that meet conditions, in the order of the first of them."""
    conditions, hits = _conditions(where), []
    first = conditions[0]
    for name in atlas.indexed(names):
        figures = _figures(atlas, name)
        order = np.flatnonzero(holding(conditions, figures))
        if FIGURES[first.name] is float:
            values = figures[first.name][order]
            order = order[np.argsort(values if first.rising else -values, kind="stable")]
        for feature in order[:limit].tolist():
            shown = {one.name: figures[one.name][feature] for one in conditions}
            why = ", ".join(
                f"{key} {value if isinstance(value, str) else f'{value:.4g}'}"
                for key, value in shown.items()
            )
            value = shown[first.name]
            score = 0.0 if isinstance(value, str) else float(value)
            numbers = {key: float(v) for key, v in shown.items() if not isinstance(v, str)}
            hits.append(Hit(name, feature, score, ("figures",), why, numbers))
    hits.sort(key=lambda hit: hit.score if first.rising else -hit.score)
    return _found(atlas, hits[:limit])


def _found(atlas: Container, hits: Sequence[Hit]) -> list[Found]:
    found = []
    for hit in hits:
        labels = atlas.labels(hit.dictionary)
        label = None if labels is None else labels.get(hit.feature)
        tokens = () if label is None else label.words[:4]
        if not tokens and atlas.is_indexed(hit.dictionary):
            tokens = tuple(atlas.features(hit.dictionary).peak_tokens(hit.feature))
        found.append(
            Found(
                hit.id,
                None if label is None else label.name or None,
                None if label is None else label.kind,
                None if label is None or not isfinite(label.auroc) else label.auroc,
                tokens,
                hit.score,
                hit.where,
                hit.why,
                hit.figures,
            )
        )
    return found


def _looked_at(atlas: Container) -> list[str]:
    """Every stored dictionary; without any, the neurons that are indexed."""
    return atlas.dictionary_names or atlas.indexed_names or atlas.some(None)


def _embedder(atlas: Container, names: Iterable[str]) -> Embedder | None:
    """The embedder, where there are labels or examples with a meaning and it can be opened."""
    given = [(atlas.labels(name), atlas.meaning(name)) for name in names]
    if not any(one is not None for pair in given for one in pair):
        return None
    try:
        opened = _opened()
    except ModelError as error:
        warn(f"searched by words alone, not by meaning: {error}")
        return None
    if any(meaning is not None and meaning.embedder != opened.hash for _, meaning in given):
        warn(
            f"what examples are about was not searched: it was embedded by another embedder than "
            f"{opened.name}"
        )
    return opened


@cache
def _opened() -> Embedder:
    return Embedder.open()


def _conditions(where: str | None) -> list[Condition]:
    return [] if where is None else parse(where, FIGURES)


def _allowed(atlas: Container, name: str, conditions: list[Condition]) -> NDArray[np.bool_] | None:
    if not conditions:
        return None
    if not atlas.is_indexed(name):
        return np.zeros(atlas.dictionary(name).d_dict, np.bool_)
    return holding(conditions, _figures(atlas, name))


def _figures(atlas: Container, name: str) -> Mapping[str, NDArray[Any]]:
    """The figures of a dictionary's features, [m] each; NaN and "" for what is not known."""
    index, labels = atlas.features(name), atlas.labels(name)
    scores = np.full((2, index.num_features), np.nan)
    kinds = np.full(index.num_features, "", object)
    for label in labels or ():
        scores[:, label.feature] = label.auroc, label.auroc_near
        kinds[label.feature] = label.kind
    return {
        "density": index.density,
        "max": index.max,
        "mean": index.table.column("mean_active").to_numpy(),
        "active": index.num_active,
        "auroc": scores[0],
        "near": scores[1],
        "kind": kinds,
    }


def _kept(hits: Sequence[Hit], allowed: Mapping[str, NDArray[np.bool_] | None]) -> list[Hit]:
    def meets(hit: Hit) -> bool:
        mask = allowed[hit.dictionary]
        return mask is None or bool(mask[hit.feature])

    return [hit for hit in hits if meets(hit)]


def _texts(atlas: Container, given: Any) -> list[Any]:
    """Texts of a list or a file: of a .txt one a line, else one a row."""
    if not isinstance(given, str | Path):
        return list(given)
    found: list[Any] = []
    for document in documents(given):
        if not isinstance(document, str):
            found.append(atlas.model.chat_tokens(document)[0])
        elif Path(given).name.endswith((".txt", ".txt.gz")):
            found += [line.strip() for line in document.splitlines() if line.strip()]
        else:
            found.append(document)
    return found


def direction_of(given: Any, width: int) -> Tensor:
    """A direction [width] as a tensor; InputError for anything else."""
    try:
        found = torch.as_tensor(np.asarray(given, np.float32))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the direction {short(given)}", expected=f"{width} numbers") from error
    if found.ndim != 1 or len(found) != width:
        raise InputError(
            f"a direction of shape {tuple(found.shape)}", expected=f"{width} numbers, as the model"
        )
    return found
