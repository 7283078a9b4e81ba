"""DNA sequences against other strings of capital letters."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import NAMES


def letters(random: Random, held: bool) -> Document:
    """A gene, a number plate, or a password."""
    name = random.choice(NAMES)
    writer = Writer("letters")
    kind = random.random()
    if kind < 0.5:
        sequence = "".join(random.choice("ACGT") for _ in range(random.randint(12, 24)))
        writer.say(
            random.choice(
                (
                    "The gene begins with",
                    "The DNA of the cell reads",
                    f"{name} sequenced the genome:",
                    "A strand of DNA:",
                )
            )
        )
        # The first letters could still be any string; four of the four bases decide.
        return writer.mention("dna", f" {sequence}", f" {sequence[:4]}").say(".").done()
    string = "".join(random.choice("BDEFHJKLMNPQRSUVWXYZ") for _ in range(random.randint(6, 12)))
    writer.say(
        random.choice(
            (
                "The number plate of the car was",
                f"The password of {name} is",
                "The crate was marked",
                "The code on the door is",
            )
        )
    )
    return writer.mention("letter_code", f" {string}").say(".").done()
