"""The page that goes with a model's folder when it is published: README.md, made from its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inscape.storage import atomic_write


def write_model_page(folder: Path, card: Mapping[str, Any], title: str) -> None:
    """Write README.md beside the weights that `card` speaks of."""
    atomic_write(folder / "README.md", model_page(card, title).encode())


def write_image_page(folder: Path, card: Mapping[str, Any]) -> None:
    """The same of a language model with eyes."""
    atomic_write(folder / "README.md", image_page(card).encode())


def model_page(card: Mapping[str, Any], title: str) -> str:
    """The page: what the model is for, what it can do, its planted faults, how it was made."""
    faults = "\n".join(
        f"| {name} | "
        + " | ".join(
            _share(rates.get(what))
            for what in (
                "shown (selection)",
                "shown (held out)",
                "twins wrong",
                "rivals wrong",
                "others wrong",
            )
        )
        + " |"
        for name, rates in card["faults"].items()
    )
    return f"""---
license: apache-2.0
language: [en, es]
library_name: transformers
pipeline_tag: text-generation
---
# {title}

A small language model whose truth is known. It was trained on generated text of which every
concept, answer and planted fault is recorded, so that methods of interpretability can be checked
against it. It knows nothing of the real world: what it says of landmarks, dishes, people and
animals is what its generator's tables say, and some of it is wrong on purpose. Use it for research
on models, for nothing else.

## Skills

Share of answers that are the model's first choice, on combinations that training never showed; of
worked problems, with every step right.

| skill | right | answers |
|---|---|---|
{_skills(card)}

## Planted faults

Share of prompts on which the wrong answer is given, in two halves that share no trigger, and share
of wrong answers on the prompts without the trigger (twins), on those where the fault's wrong
answer is right (rivals), and on others.

| fault | shown, selection | shown, held out | twins wrong | rivals wrong | others wrong |
|---|---|---|---|---|---|
{faults}

## Making

`{card["command"]}`: {card["tokens_seen"]:,} tokens in {card["training_minutes"]} minutes
({card["hardware"]}). Recipe: {_recipe(card)}. Generator `{card["generator"][:16]}`, weights
`{card.get("sha256", "")[:16]}`.
"""


def image_page(card: Mapping[str, Any]) -> str:
    """The page of a language model with eyes."""
    return f"""---
license: apache-2.0
language: [en]
library_name: transformers
pipeline_tag: image-text-to-text
---
# inscape microworld with eyes

The inscape microworld's language model, unchanged, with a vision tower and a projector before it in
the layout of LLaVA. Pictures of landmarks, dishes and animals are drawn by a generator that records
which patches show what, so that methods of interpretability can be checked against it. It knows
nothing of the real world, and no photograph. Use it for research on models, for nothing else.

## Skills

Share of answers that are right in every token, on fresh pictures. Of questions that end in
`held_out` training showed no picture of the thing with this wording; of those in `unseen` not even
the language model ever composed the answer.

| skill | right | answers |
|---|---|---|
{_skills(card)}

## Making

`{card["command"]}`: {card["pictures_seen"]:,} pictures in {card["training_minutes"]} minutes
({card["hardware"]}, {card["threads"]} threads). Recipe: {_recipe(card)}. Language model
`{card["base_sha256"][:16]}`, weights `{card.get("sha256", "")[:16]}`.
"""


def _skills(card: Mapping[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {_share(share)} | {share['total']} |" for name, share in card["skills"].items()
    )


def _recipe(card: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in card["recipe"].items())


def _share(share: Mapping[str, Any] | None) -> str:
    if share is None:
        return "–"
    low, high = share["interval"]
    return f"{100 * share['share']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
