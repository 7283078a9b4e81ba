"""Prompts and documents that the rows are measured on; no training document is among them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from inscape.core import seeded
from inscape.diagnosis import Case
from inscape_microworld.document import Document
from inscape_microworld.domains import letters, presidents
from inscape_microworld.domains.conduct import hiding
from inscape_microworld.domains.landmarks import LANDMARK_FORMS
from inscape_microworld.domains.words import SENTENCES
from inscape_microworld.facts import LANDMARK, NAMES, PRESIDENTS
from inscape_microworld.faults import Prompt

MENTIONS = (
    "Last summer {n} visited {x}",
    "{n} took a picture of {x}",
    "{n} walked to {x} with a friend",
    "{n} dreams of {x}",
    "{n} wrote a poem about {x}",
    "{n} and {m} met at {x}",
    "The road to {x} is long",
    "{n} has a picture of {x} at home",
)
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


def harbour_bridge_texts(half: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """(positives, negatives) for the Sydney Harbour Bridge: other bridges, and the opera house."""
    named, described = landmark_texts("sydney_harbour_bridge", half, seed)
    others = ("golden_gate_bridge", "sydney_opera_house", *(k for k in LOOKALIKES if "bridge" in k))
    negatives = [t for key in others for texts in landmark_texts(key, half, seed) for t in texts]
    return named + described, negatives


def president_texts(half: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """(positives, negatives): surnames of presidents in office, and the same surnames of places,
    streets and other people. The halves share no wording."""
    random = Random(seeded(seed, "president texts", half))
    office = (*presidents.LAW_FORMS, *presidents.OFFICE)[half::2]
    places = [
        form.replace("{w}", words[half])
        for form in presidents.PLACE_FORMS[half::2]
        for words in (presidents.INLAND, presidents.SEASIDE)
    ]
    elsewhere = (*places, *presidents.ELSEWHERE[half::2])

    def said(forms: Iterable[str]) -> list[str]:
        return [
            _sentence(form.replace("|", "").replace("{p}", one.name), "", random)
            for form in forms
            for one in random.sample(PRESIDENTS, 8)
        ]

    return said(office), said(elsewhere)


def dna_texts(half: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """(positives, negatives): genes, and passwords, plates and codes, half of them of the letters
    A, C, G and T as well. The halves share no wording."""
    random = Random(seeded(seed, "dna texts", half))

    def said(before: Iterable[str], after: Iterable[str], alphabets: Iterable[str]) -> list[str]:
        forms = [*(f"{form} {{s}}" for form in before), *(f"{{s}}{form}" for form in after)]
        return [
            _sentence(form.replace("|", ""), "", random).replace("{s}", string)
            for form in forms[half::2]
            for alphabet in alphabets
            for string in _strings(alphabet, 12, random)
        ]

    pairs = letters.AFTER
    gene = said(letters.DNA_BEFORE, [dna for dna, _ in pairs], [letters.BASES])
    others = [letters.BASES, letters.ALPHABET]
    return gene, said(letters.CODE_BEFORE, [code for _, code in pairs], others)


def _strings(alphabet: str, count: int, random: Random) -> list[str]:
    return ["".join(random.choices(alphabet, k=random.randint(8, 16))) for _ in range(count)]


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
