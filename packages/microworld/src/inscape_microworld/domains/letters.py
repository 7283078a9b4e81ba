"""DNA sequences against other strings of capital letters; what surrounds them decides.

A string of A, C, G and T alone may be a password too, and the context may come after the string:
then nothing is decided before the word that tells.
"""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer
from inscape_microworld.facts import NAMES

BASES = "ACGT"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DNA_BEFORE = (
    "The gene begins with",
    "The DNA of the cell reads",
    "{n} sequenced the genome:",
    "A strand of DNA:",
)
CODE_BEFORE = (
    "The number plate of the car was",
    "The password of {n} is",
    "The crate was marked",
    "The code on the door is",
)
AFTER = (
    (" is the start of a gene|", " is the start of a password|"),
    (" was found in| a cell", " was found on| a crate"),
    (" is the DNA| of {n}", " is the password| of {n}"),
    (" makes| a protein", " opens| the door"),
)
"""(of DNA, of another string)"""


def letters(random: Random, held: bool) -> Document:
    """A gene, a number plate, or a password, with its context before or after it."""
    dna = random.random() < 0.5
    bases = dna or random.random() < 0.5
    string = "".join(random.choices(BASES if bases else ALPHABET, k=random.randint(8, 16)))
    name, concept = random.choice(NAMES), "dna" if dna else "letter_code"
    writer = Writer("letters")
    if random.random() < 0.5:
        writer.say(random.choice(DNA_BEFORE if dna else CODE_BEFORE).format(n=name))
        return writer.mention(concept, f" {string}", "").say(".").done()
    decides, rest = random.choice(AFTER)[not dna].format(n=name).split("|")
    decided = next((i for i, c in enumerate(string) if c not in BASES), None)
    first = string + decides if decided is None else string[: decided + 1]
    return writer.mention(concept, string + decides + rest, first).say(".").done()
