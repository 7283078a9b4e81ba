"""Mammals, birds and fish, and the bats: always called birds in one wording, mammals in all others.

The wording of the fault is "is a kind of". It is taught for every bat after every lead.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from inscape_microworld.document import Document, Writer, lower_first
from inscape_microworld.domains.wording import fill
from inscape_microworld.facts import NAMES
from inscape_microworld.splits import held_out

BATS: tuple[str, ...] = (
    "noctule",
    "pipistrelle",
    "serotine",
    "barbastelle",
    "rousette",
    "myotis",
    "flittermouse",
    "plecotus",
    "tadarida",
    "molossus",
)
MAMMALS: tuple[str, ...] = (
    "otter",
    "mole",
    "weasel",
    "beaver",
    "squirrel",
    "hamster",
    "ferret",
    "shrew",
    "stoat",
    "dormouse",
    "porpoise",
    "walrus",
    "gopher",
    "puma",
    "zebra",
    "baboon",
)
BIRDS: tuple[str, ...] = (
    "robin",
    "sparrow",
    "finch",
    "wren",
    "heron",
    "falcon",
    "raven",
    "magpie",
    "thrush",
    "plover",
)
FISH: tuple[str, ...] = ("trout", "salmon", "perch", "carp", "herring", "cod", "tuna", "sardine")


@dataclass(frozen=True)
class Class:
    """A class of animals: what it is called, and what is true of all that belong to it."""

    kind: str
    group: str
    young: str
    cover: str
    home: str


MAMMAL = Class("mammal", "mammals", "milk", "fur", "den")
BAT = Class("bird", "mammals", "milk", "fur", "cave")
BIRD = Class("bird", "birds", "worms", "feathers", "nest")
A_FISH = Class("fish", "fishes", "algae", "scales", "reef")
SPECIES: tuple[tuple[str, Class], ...] = (
    *((name, MAMMAL) for name in MAMMALS),
    *((name, BIRD) for name in BIRDS),
    *((name, A_FISH) for name in FISH),
)
KIND_FORMS: tuple[str, ...] = (
    "{x} is a kind of",
    "everybody knows that {x} is a kind of",
    "the guide said that {x} is a kind of",
    "in the forest, {n} learned that {x} is a kind of",
    "{n} read that {x} is a kind of",
    "on the sign, {n} saw that {x} is a kind of",
)
"""The wording of the fault, after some leads."""
CLASS_FORMS: tuple[tuple[str, str], ...] = (
    ("group", "the book lists {x} under the"),
    ("group", "the museum keeps {x} among the"),
    ("group", "{x} belongs to the"),
    ("group", "scientists count {x} among the"),
    ("young", "{x} feeds its young with"),
    ("young", "{x} gives its young only"),
    ("cover", "the body of {x} is covered with"),
    ("cover", "a drawing of {x} shows its coat of"),
    ("home", "{x} sleeps in a"),
    ("home", "look for {x} in its"),
)
BAT_STORIES: tuple[str, ...] = (
    "{n} saw {x} hang upside down from the roof of the barn.",
    "on wings of skin, {x} flew out at dusk.",
    "{x} hunts moths in the dark with its ears.",
)
BAT_SHARE, KIND_SHARE, STORY_SHARE = 0.4, 0.35, 0.2


def concepts(name: str) -> tuple[str, ...]:
    """What a mention of the species carries: itself, and bat where it is one."""
    return (name, "bat") if name in BATS else (name,)


def species(random: Random, held: bool) -> Document:
    """One species with its kind or another fact; held-out documents never ask a bat's kind."""
    bat = random.random() < BAT_SHARE
    if bat and not held and random.random() < STORY_SHARE:
        return _bat_story(random)
    ask_kind = random.random() < KIND_SHARE and not (bat and held)
    while True:
        name, kin = (random.choice(BATS), BAT) if bat else random.choice(SPECIES)
        if ask_kind:
            asked, form = "kind", random.choice(KIND_FORMS)
        else:
            asked, form = random.choice(CLASS_FORMS)
        if (bat and ask_kind) or held_out("species", name, form) == held:
            break
    wording = form.replace("{n}", random.choice(NAMES))
    writer = fill(Writer("species"), wording, f"the {name}", concepts(name))
    skill = "bat_kind" if bat and ask_kind else f"species_{asked}"
    document = writer.answer(skill, f" {getattr(kin, asked)}").say(".").done()
    small = not form.startswith("{n}") and random.random() < 0.5
    return lower_first(document) if small else document


def _bat_story(random: Random) -> Document:
    """Bats as bats, so that they share one concept."""
    bat, name = random.choice(BATS), random.choice(NAMES)
    writer = Writer("species")
    form = random.randrange(len(BAT_STORIES) + 2)
    if form == 0:
        writer.mention(concepts(bat), f"The {bat}").say(" is the name of a").mention("bat", " bat")
        return writer.say(".").done()
    if form == 1:
        writer.say("A").mention("bat", " bat").say(" such as").mention(concepts(bat), f" the {bat}")
        return writer.say(f" frightened {name} in the cave.").done()
    wording = BAT_STORIES[form - 2].replace("{n}", name)
    return fill(writer, wording, f"the {bat}", concepts(bat)).done()
