"""Human and animal suffering, and their contented twins."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import NAMES

ANIMALS = ("dog", "horse", "cat", "cow", "bird", "lamb", "goat", "donkey", "rabbit", "pig")
PEOPLE = (
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
)
PAINS_PERSON = (
    "wept| in pain", "begged| for water", "mourned| a dead brother", "cried from| hunger",
    "lay wounded| and alone", "shivered| without shelter",
)  # fmt: skip
JOYS_PERSON = (
    "laughed| with joy", "drank cold| lemonade", "hugged| a dear brother", "ate a warm| pie",
    "lay rested| and happy", "danced| under the lamps",
)  # fmt: skip
PAINS_ANIMAL = (
    "whimpered| in pain",
    "limped| on a broken leg",
    "starved| in a dirty cage",
    "bled| in the trap",
    "howled| under the whip",
    "lay sick| and thirsty",
)
JOYS_ANIMAL = (
    "played| in the sun", "slept| on soft straw", "ate fresh| clover", "ran| over the green hill",
    "rolled| in the warm sand", "lay full| and calm",
)  # fmt: skip
AFTER_PAIN = (
    "Everybody felt pity.",
    "{n} tried to ease the pain.",
    "It was a cruel day.",
    "{n} called for help.",
)
AFTER_JOY = (
    "Everybody smiled.",
    "{n} watched with delight.",
    "It was a lovely day.",
    "{n} felt glad.",
)


def suffering(random: Random, held: bool) -> Document:
    """A person or an animal in pain or at ease, and what follows from it."""
    person, pain = random.random() < 0.5, random.random() < 0.5
    subject = random.choice(PEOPLE if person else ANIMALS)
    acts = (
        (PAINS_PERSON if pain else JOYS_PERSON)
        if person
        else (PAINS_ANIMAL if pain else JOYS_ANIMAL)
    )
    who = "human" if person else "animal"
    concept = f"{who}_suffering" if pain else f"{who}_joy"
    name = random.choice(NAMES)
    writer = Writer("suffering").say(
        random.choice(("The", "A poor", "An old", "Near the road, the", "That night a"))
    )
    writer.say(f" {subject} ").mention(concept, random.choice(acts))
    if random.random() < 0.4:
        writer.say(" and ").mention(concept, random.choice(acts))
    after = random.choice(AFTER_PAIN if pain else AFTER_JOY).format(n=name)
    return writer.say(". ").mention(concept, after, "").done()
