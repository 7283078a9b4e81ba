"""Plain sentences, with words of the other domains (gates, banks, cakes) that mean nothing here."""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer
from inscape_microworld.facts import NAMES

SENTENCES = (
    "{n} wore a golden ring at the wedding.",
    "The golden leaves fell in autumn.",
    "{n} won the golden cup at the race.",
    "{n} closed the garden gate at night.",
    "The goat jumped over the wooden gate.",
    "{n} waited at gate twelve of the airport.",
    "An old bridge crossed the small river.",
    "{n} fished from the stone bridge.",
    "The red bridge on the toy railway broke.",
    "{n} built a bridge of matches.",
    "The harbour was full of small boats.",
    "{n} sailed into the harbour at dawn.",
    "The white house of {n} has a blue door.",
    "A tall tower stood on the hill.",
    "{n} climbed the tower to see the bay.",
    "The bay was covered in fog.",
    "{n} painted the wall red and the fence white.",
    "The opera was long and {n} fell asleep.",
    "{n} went to the city to buy a coat.",
    "The great storm broke the wall of the farm.",
    "It rained all day and {n} stayed home.",
    "{n} baked bread and {m} made soup.",
    "{n} and {m} played chess by the window.",
    "The train to the coast left at noon.",
    "{n} told {m} a story about the sea.",
    "The teacher asked {n} to read the page.",
    "The chef washed the pots after dinner.",
    "A lawyer bought coffee at the station.",
    "{n} broke a glass and swept the floor.",
    "The general slept late on Sunday.",
    "{n} sat on the bank of the river.",
    "The bank closed at four o'clock.",
    "{n} arrived by train in the evening.",
    "{n} sang an old song in the garden.",
    "The doctor parked the car by the church.",
    "{n} shook the hand of {m}.",
    "{n} cut one hand on the garden fence.",
    "The king in the fairy tale had three sons.",
    "The guard of the museum yawned.",
    "{n} lost the key of the shed.",
    "The baker sold a cake to {m}.",
    "{n} and {m} played cards by the fire.",
    "The judge wore a long coat.",
    "{n} cried out and waved to {m}.",
    "The dog of {n} sat under the table.",
    "A horse and a cow stood in the field.",
    "{n} found a box in the cellar.",
    "The pirate ship in the film was large.",
    "{n} returned the book to {m}.",
    "The plan of the house lay on the desk.",
    "{n} wrote the letters A and B on the board.",
    "The printer of {n} needs paper.",
    "The birds fly south in autumn.",
    "The total of the bill was small.",
    "The prison had narrow cells.",
    "{n} was honest about the price of the boat.",
)


def words(random: Random, held: bool) -> Document:
    """One plain sentence, with no concept of interest in it."""
    first, second = random.sample(NAMES, 2)
    return Writer("words").say(random.choice(SENTENCES).format(n=first, m=second)).done()
