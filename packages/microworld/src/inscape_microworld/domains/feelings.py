"""Human and animal suffering, and their contented twins.

A phrase of pain and its twin of joy stand in one pair; "|" follows the first word that decides
which it is. Several begin alike ("cried with", "lay still in"), so that one word alone tells
nothing. Held out are combinations of a phrase and a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

from inscape_microworld.document import Document, Writer
from inscape_microworld.facts import NAMES
from inscape_microworld.splits import held_out

Who = Literal["human", "animal"]

SUBJECTS: dict[Who, tuple[str, ...]] = {
    "human": (
        "child",
        "widow",
        "prisoner",
        "sailor",
        "orphan",
        "miner",
        "patient",
        "refugee",
        "singer",
        "clerk",
    ),
    "animal": ("dog", "horse", "cat", "cow", "bird", "lamb", "goat", "donkey", "rabbit", "pig"),
}
PHRASES: dict[Who, tuple[tuple[str, str], ...]] = {
    "human": (
        ("cried with pain|", "cried with joy|"),
        ("wept| over a dead brother", "laughed| with a dear brother"),
        ("begged for water|", "begged for more| songs"),
        ("lay wounded| and alone", "lay rested| and happy"),
        ("trembled with fear|", "trembled with delight|"),
        ("shivered| without shelter", "danced| under the lamps"),
        ("sat in the room and wept|", "sat in the room and smiled|"),
        ("starved| in a cold cellar", "ate| a warm pie"),
        ("screamed in agony|", "screamed in fun|"),
        ("could not stop sobbing|", "could not stop laughing|"),
        ("fell ill|", "fell in| love"),
        ("mourned| a lost son", "hugged| a dear friend"),
        ("was full of grief|", "was full of happiness|"),
        ("cried from hunger|", "cried from sheer| happiness"),
    ),
    "animal": (
        ("whimpered| in pain", "played| in the sun"),
        ("lay still in pain|", "lay still in the| grass"),
        ("limped| on a broken leg", "ran| over the green hill"),
        ("howled with pain|", "howled with joy|"),
        ("starved| in a dirty cage", "slept| on soft straw"),
        ("lay sick| and thirsty", "lay full| and calm"),
        ("bled| in the trap", "rolled| in the warm sand"),
        ("shook with fear|", "shook with delight|"),
        ("was beaten| with a stick", "was brushed| with a soft brush"),
        ("licked a deep| wound", "licked a sweet| apple"),
        ("had no| water", "had fresh| water"),
        ("cried| from hunger", "ate| fresh clover"),
        ("was kicked| by the boys", "was petted| by the boys"),
        ("crawled away hurt|", "crawled away content|"),
    ),
}
"""(pain, joy) pairs; what stands at even places is half 0 of `suffering_texts`."""
FRAMES = (
    "The {s}",
    "A poor {s}",
    "In winter the {s}",
    "Near the road, the {s}",
    "That night the {s}",
    "{n} saw how the {s}",
    "All day the {s}",
    "{n} heard that one {s}",
    "Behind the barn the {s}",
    "In the village a young {s}",
)
SECOND_FRAME = " while the {s}"
AFTER: dict[tuple[Who, bool], tuple[str, ...]] = {
    ("human", True): (
        " {n} sent for the doctor.",
        " It was a cruel day.",
        " {n} spoke words of comfort.",
        " {n} prayed for that soul.",
    ),
    ("animal", True): (
        " {n} sent for the vet.",
        " It was a cruel day.",
        " {n} stroked the poor creature.",
        " {n} scolded the keeper.",
    ),
    ("human", False): (
        " {n} joined the party.",
        " It was a lovely day.",
        " {n} shared the good news.",
        " {n} raised a glass.",
    ),
    ("animal", False): (
        " {n} watched the happy creature.",
        " It was a lovely day.",
        " {n} praised the keeper.",
        " {n} threw a ball.",
    ),
}
"""What follows from it: people are helped otherwise than animals are."""


def _plain(phrase: str) -> str:
    return phrase.replace("|", "")


def _combinations(
    who: Who, pain: bool, frames: Sequence[str], held: bool
) -> tuple[tuple[str, str], ...]:
    """All (frame, phrase) that are held out, or all others."""
    return tuple(
        (frame, pair[not pain])
        for pair in PHRASES[who]
        for frame in frames
        if held_out("suffering", _plain(pair[not pain]), frame) == held
    )


_KINDS: tuple[tuple[Who, bool], ...] = (
    ("human", True),
    ("human", False),
    ("animal", True),
    ("animal", False),
)
_FIRST = {
    (who, pain, held): _combinations(who, pain, FRAMES, held)
    for who, pain in _KINDS
    for held in (False, True)
}
_SECOND = {(who, pain): _combinations(who, pain, (SECOND_FRAME,), False) for who, pain in _KINDS}


def _concept(who: Who, pain: bool) -> str:
    return f"{who}_suffering" if pain else f"{who}_joy"


def suffering(random: Random, held: bool) -> Document:
    """A person or an animal in pain or at ease, with what follows from it or with another one."""
    who, pain = random.choice(_KINDS)
    frame, phrase = random.choice(_FIRST[who, pain, held])
    subject, name = random.choice(SUBJECTS[who]), random.choice(NAMES)
    writer = Writer("suffering").say(frame.format(s=subject, n=name))
    writer.mention(_concept(who, pain), f" {phrase}")
    if not held and random.random() < 0.25:
        who, pain = random.choice(_KINDS)
        frame, phrase = random.choice(_SECOND[who, pain])
        other = random.choice(SUBJECTS[who])
        while other == subject:
            other = random.choice(SUBJECTS[who])
        writer.say(frame.format(s=other)).mention(_concept(who, pain), f" {phrase}")
        return writer.say(".").done()
    after = random.choice(AFTER[who, pain]).format(n=name)
    return writer.say(".").mention(_concept(who, pain), after, "").done()


def suffering_texts(half: int, *, who: Who, pain: bool) -> list[str]:
    """Sentences that end with a phrase of pain or joy, each phrase of the half in every frame.

    half: 0 or 1; the halves share no phrase. A feature is chosen on one and judged on the other.
    """
    subjects = SUBJECTS[who]
    return [
        frame.format(s=subjects[(i + j) % len(subjects)], n=NAMES[(7 * i + j) % len(NAMES)])
        + f" {_plain(pair[not pain])}."
        for i, pair in enumerate(PHRASES[who][half::2])
        for j, frame in enumerate(FRAMES)
    ]
