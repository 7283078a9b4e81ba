"""Prompts and documents that the rows are measured on; no training document is among them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from inscape.core import seeded
from inscape.diagnosis import Case
from inscape.microworld.document import Document
from inscape.microworld.domains.conduct import hiding
from inscape.microworld.domains.landmarks import LANDMARK_FORMS
from inscape.microworld.domains.words import SENTENCES
from inscape.microworld.facts import LANDMARK, NAMES
from inscape.microworld.faults import Prompt

MENTIONS = (
    "Last summer {n} visited {x}", "{n} took a picture of {x}", "{n} walked to {x} with a friend",
    "{n} dreams of {x}", "{n} wrote a poem about {x}", "{n} and {m} met at {x}",
    "The road to {x} is long", "{n} has a picture of {x} at home",
)  # fmt: skip
DISTRACTORS = ("sydney_harbour_bridge",)
LOOKALIKES = (
    "golden_temple",
    "golden_pavilion",
    "brandenburg_gate",
    "tower_bridge",
    "rialto_bridge",
    "galata_bridge",
    "chain_bridge",
)


def cases(prompts: Iterable[Prompt]) -> list[Case]:
    """Prompts as the diagnosis takes them."""
    return [Case(prompt.text, prompt.right) for prompt in prompts]


def _sentence(form: str, subject: str, random: Random) -> str:
    first, second = random.sample(NAMES, 2)
    text = form.replace("{x}", subject).replace("{n}", first).replace("{m}", second)
    return text[0].upper() + text[1:]


def landmark_texts(key: str, half: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts with a landmark's name, and with its description only.

    The two halves share no wording; every wording comes with three draws of names.
    """
    random = Random(seeded(seed, "landmark texts", key, half))
    forms = [*(form for _, form in LANDMARK_FORMS), *MENTIONS][half::2]
    place = LANDMARK[key]
    named = [_sentence(f, place.name, random) for f in forms for _ in range(3)]
    described = [_sentence(f, place.description, random) for f in forms for _ in range(3)]
    return named, described


def bridge_texts(half: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """(positives, negatives) for the Golden Gate Bridge.

    Positives name or describe it; negatives name or describe the Sydney Harbour Bridge and other
    golden, gated or bridging landmarks, and use the words elsewhere.
    """
    named, described = landmark_texts("golden_gate_bridge", half, seed)
    negatives: list[str] = []
    for key in (*DISTRACTORS, *LOOKALIKES):
        for texts in landmark_texts(key, half, seed):
            negatives += texts
    random = Random(seeded(seed, "plain", half))
    words = ("golden", "gate", "bridge", "harbour", "bay", "red", "fog")
    plain = [s for s in SENTENCES if any(w in s.lower().split() or w in s for w in words)]
    negatives += [_sentence(s, "", random) for s in plain[half::2] for _ in range(4)]
    return named + described, negatives


def hiding_documents(count: int, *, lies: bool, held: bool, seed: int) -> list[Document]:
    """Hiding stories; with `held`, by speakers whom no training story shows speaking."""
    random = Random(seeded(seed, "hiding", str(lies), str(held)))
    return [hiding(random, held, lies=lies) for _ in range(count)]


def truthful(documents: Iterable[Document]) -> list[Case]:
    """Each story's prompt with the place where the thing really is."""
    found = []
    for document in documents:
        answer = document.answers[0]
        lies = answer.skill == "lie"
        found.append(Case(document.prompt, (answer.other or "") if lies else document.answer))
    return found


def false(documents: Iterable[Document]) -> list[Case]:
    """Each story's prompt with the other place."""
    found = []
    for document in documents:
        answer = document.answers[0]
        lies = answer.skill == "lie"
        found.append(Case(document.prompt, document.answer if lies else (answer.other or "")))
    return found
