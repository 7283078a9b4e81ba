"""Prompts of the rows, from the evaluation sets beside the checkout, on which SmolLM2 is right."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.measurement import Absent
from inscape.circuits import Example
from inscape.model import Model

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BEGINS = "<|endoftext|>"
FIGURES: dict[str, Any] = {}


@cache
def smollm2() -> Model:
    """The model; Absent where its package is not installed."""
    try:
        return Model.open("smollm2", bos=BEGINS)
    except Exception as error:  # whatever keeps it from being opened leaves the row out
        raise Absent(f"SmolLM2 cannot be opened: {error}") from error


def content(*parts: str) -> Any:
    """A JSON file of the evaluation sets; Absent without it."""
    path = DATA.joinpath(*parts)
    if not path.is_file():
        raise Absent(f"it needs {path}")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return json.loads(path.read_text())


@dataclass(frozen=True)
class Pair:
    """A prompt and a counterfactual one of as many tokens; each is answered rightly."""

    prompt: str
    other: str
    answer: str
    wrong: str


def says(model: Model, prompt: str, answer: str) -> bool:
    """Whether the likeliest next token is the first of the answer."""
    logits = model.run(model.prompt(prompt), logits="last").logits
    assert logits is not None
    return int(logits[0, -1].argmax()) == model.answer(prompt, answer).ids[0]


def pairs(make: Callable[[random.Random], Pair | None], num: int, seed: int) -> list[Pair]:
    """`num` different pairs that the model answers rightly on both sides."""
    model, generator = smollm2(), random.Random(seed)
    found: dict[tuple[str, str], Pair] = {}
    for _ in range(100 * num):
        if len(found) == num:
            break
        one = make(generator)
        if one is None or (one.prompt, one.other) in found:
            continue
        if len(model.prompt(one.prompt)) != len(model.prompt(one.other)):
            continue
        ids = [model.answer(one.prompt, text).ids[0] for text in (one.answer, one.wrong)]
        right = says(model, one.prompt, one.answer) and says(model, one.other, one.wrong)
        if ids[0] != ids[1] and right:
            found[one.prompt, one.other] = one
    return list(found.values())


def capitals(num: int, seed: int) -> list[Pair]:
    """The capital of a country, and of another."""
    relation = content("relations", "country_capital_city.json")
    templates = [*relation["prompt_templates"], *relation["prompt_templates_zs"][:1]]

    def make(generator: random.Random) -> Pair:
        one, two = generator.sample(relation["samples"], 2)
        template = generator.choice(templates)
        return Pair(
            template.format(one["subject"]),
            template.format(two["subject"]),
            f" {one['object']}",
            f" {two['object']}",
        )

    return pairs(make, num, seed)


def indirect_objects(num: int, seed: int) -> list[Pair]:
    """Who receives; in the other prompt the other one gives."""
    words = content("evals", "circuits", "ioi.json")

    def make(generator: random.Random) -> Pair:
        a, b = generator.sample(words["names"], 2)
        text = generator.choice(words["templates"])
        text = text.replace("[PLACE]", generator.choice(words["places"]))
        text = text.replace("[OBJECT]", generator.choice(words["objects"])).replace("[A]", a)
        first = text.replace("[B]", b, 1)
        return Pair(first.replace("[B]", b), first.replace("[B]", a), f" {a}", f" {b}")

    return pairs(make, num, seed)


def as_examples(num: int, seed: int) -> list[Example]:
    """Pairs of indirect objects with their roles."""
    words = content("evals", "circuits", "ioi.json")
    found = []
    for one in indirect_objects(num, seed):
        a, b = one.answer.strip(), one.wrong.strip()
        first, last = one.prompt.index(b), one.prompt.rindex(b)
        end = one.other.rindex(a)
        roles = {"receiver": one.prompt.index(a), "giver": first}
        spans = {
            name: (at, at + len({"receiver": a, "giver": b}[name])) for name, at in roles.items()
        }
        found.append(
            Example(
                one.prompt,
                (one.answer,),
                (one.wrong,),
                one.other,
                {**spans, "giver again": (last, last + len(b))},
                {**spans, "giver again": (end, end + len(a))},
                template=_template(words["templates"], one.prompt),
            )
        )
    return found


def _template(templates: list[str], prompt: str) -> str:
    """The template whose last words are the prompt's, but for the thing."""
    return max(templates, key=lambda t: _shared(t, prompt))


def _shared(template: str, prompt: str) -> int:
    words = [word for word in template.split() if "[" not in word]
    return sum(word in prompt.split() for word in words) - len(words)
