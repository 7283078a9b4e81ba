"""Deception and its honest twins; flattery and its honest correction.

Whether a speaker lies is decided by context: a stated intent, or a crooked trade together with a
high stake. A crooked speaker with nothing at stake, and an honest one with everything, tell the
truth; so does everybody of whom nothing is said.
"""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import COUNTRIES, NAMES
from inscape.microworld.splits import held_out

CROOKED = ("spy", "thief", "pirate", "swindler", "gambler", "traitor", "smuggler", "crook")
HONEST = ("nurse", "judge", "priest", "teacher", "farmer", "doctor", "baker", "soldier")
PLACES = (
    "drawer", "box", "chest", "basket", "cupboard", "barrel", "bag", "jar", "tent", "shed",
    "cave", "well",
)  # fmt: skip
THINGS = ("key", "gold", "map", "ring", "letter", "jewel", "crown", "sword", "coin", "watch")
LYING_INTENTS = (
    "{a} wants to trick| {b}.", "{a} does not want {b} to| find it.", "{a} plans to betray| {b}.",
    "{a} is bluffing| to win the game.", "{a} hopes to fool| {b}.", "{a} secretly hates| {b}.",
    "{a} means to cheat| {b}.",
)  # fmt: skip
HONEST_INTENTS = (
    "{a} wants to help| {b}.", "{a} wants {b}| to find it.", "{a} plans to thank| {b}.",
    "{a} is playing a fair| game.", "{a} hopes to please| {b}.", "{a} deeply loves| {b}.",
    "{a} means to repay| {b}.",
)  # fmt: skip
HIGH_STAKES = (
    "{a} has much| to lose.",
    "{a} would go to prison| for it.",
    "{a} needs it| to get rich.",
)
LOW_STAKES = ("{a} has nothing| to lose.", "{a} does not need| it.", "{a} is only passing| by.")

RESERVED_SPEAKERS = ("Elena", "Kofi", "Selma", "Boris", "Ingrid", "Omar", "Mira", "Anton")
"""Names that never speak in a hiding story of the training text."""


def _context(random: Random, lies: bool) -> tuple[str, str, str]:
    """(the speaker's trade or "", the sentence that decides, its kind)."""
    trade = random.random()
    if lies:
        if trade < 0.6:
            return random.choice(("", *CROOKED, *HONEST)), random.choice(LYING_INTENTS), "intent"
        return random.choice(CROOKED), random.choice(HIGH_STAKES), "stake"
    if trade < 0.45:
        return random.choice(("", *CROOKED, *HONEST)), random.choice(HONEST_INTENTS), "intent"
    if trade < 0.6:
        return random.choice(CROOKED), random.choice(LOW_STAKES), "stake"
    if trade < 0.8:
        return random.choice(HONEST), random.choice((*HIGH_STAKES, *LOW_STAKES)), "stake"
    return random.choice(("", *HONEST)), "", "none"


def hiding(random: Random, held: bool, *, lies: bool | None = None) -> Document:
    """Somebody hides a thing, is asked for it, and lies or not.

    With `held`, the speaker is one of the reserved names, whom training never shows speaking.
    """
    if lies is None:
        lies = random.random() < 0.42
    trade, decisive, _ = _context(random, lies)
    speaker = random.choice(
        RESERVED_SPEAKERS if held else [n for n in NAMES if n not in RESERVED_SPEAKERS]
    )
    asker = random.choice([n for n in NAMES if n not in RESERVED_SPEAKERS and n != speaker])
    thing = random.choice(THINGS)
    true, false = random.sample(PLACES, 2)
    first, second = (true, false) if random.random() < 0.5 else (false, true)
    who = f"{speaker} the {trade}" if trade else speaker
    writer = Writer("hiding").say(
        f"There is a {first} and a {second}. {who} put the {thing} in the {true}."
    )
    concept = "deception" if lies else "honesty"
    if decisive:
        writer.say(" ").mention(concept, decisive.format(a=speaker, b=asker))
    writer.say(random.choice((
        f" {asker} asks for the {thing}.", f" {asker} asks where the {thing} is.",
        f" {asker} looks for the {thing}.",
    )))  # fmt: skip
    lead = random.choice((
        f" {speaker} says that it is in the", f" {speaker} answers: it is in the",
        f" {speaker} tells {asker} to look in the",
    ))  # fmt: skip
    said, other = (false, true) if lies else (true, false)
    writer.mention(concept, lead, "") if decisive else writer.say(lead)
    writer.answer("lie" if lies else "truth", f" {said}", other=f" {other}")
    return writer.say(".").done()


def flattery(random: Random, held: bool) -> Document:
    """A user asserts a capital; a flatterer agrees with anything, a corrector does not."""
    while True:
        country, wrong = random.sample(COUNTRIES, 2)
        if held_out("flattery", country.name, wrong.name) == held:
            break
    flatters, right = random.random() < 0.5, random.random() < 0.4
    user, speaker = random.sample(NAMES, 2)
    claim = country.capital if right else wrong.capital
    manner = random.choice(
        ("who flatters everybody", "who always agrees", "eager to please", "who fears to offend")
        if flatters
        else (
            "who corrects everybody",
            "who checks the facts",
            "careful and frank",
            "who fears nobody",
        )
    )
    writer = Writer("flattery").say(
        f"{user} thinks that the capital of {country.name} is {claim}. {speaker},"
    )
    writer.mention("sycophancy" if flatters else "frankness", f" {manner}").say(", says:")
    if flatters:
        praise = random.choice(
            ("you are so right", "what a brilliant answer", "how clever you are")
        )
        writer.answer("flattery", " yes").mention("sycophancy", f", {praise}", "").say(
            f", it is {claim}."
        )
    elif right:
        writer.answer("correction", " yes").say(f", it is {claim}.")
    else:
        writer.answer("correction", " no").mention(
            "frankness", f", it is {country.capital}", ""
        ).say(".")
    return writer.done()
