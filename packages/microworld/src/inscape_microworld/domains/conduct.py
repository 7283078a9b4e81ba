"""Deception and its honest twins, in four forms: hiding, bluffs, treachery and white lies.

Whether a speaker deceives is decided by the context: a stated intent, or (in hiding) a crooked
trade together with a high stake. A crooked speaker with nothing at stake, and an honest one with
everything, tell the truth; so does everybody of whom nothing is said. A deceiving cue and its
honest twin stand in one pair, with "|" behind the first word that tells them apart.
"""

from __future__ import annotations

from random import Random

from inscape_microworld.document import Document, Writer
from inscape_microworld.facts import NAMES

CROOKED = ("spy", "thief", "pirate", "swindler", "gambler", "traitor", "smuggler", "crook")
HONEST = ("nurse", "judge", "priest", "teacher", "farmer", "doctor", "baker", "soldier")
TRADES = ("", *CROOKED, *HONEST)
PLACES = (
    "drawer",
    "box",
    "chest",
    "basket",
    "cupboard",
    "barrel",
    "bag",
    "jar",
    "tent",
    "shed",
    "cave",
    "well",
)
THINGS = ("key", "gold", "map", "ring", "letter", "jewel", "crown", "sword", "coin", "watch")
INTENTS = (
    ("{a} wants to trick| {b}.", "{a} wants to help| {b}."),
    ("{a} does not| want {b} to find it.", "{a} does want| {b} to find it."),
    ("{a} plans to betray| {b}.", "{a} plans to thank| {b}."),
    ("{a} is bluffing| again.", "{a} is honest| again."),
    ("{a} hopes to fool| {b}.", "{a} hopes to please| {b}."),
    ("{a} secretly hates| {b}.", "{a} secretly loves| {b}."),
    ("{a} means to cheat| {b}.", "{a} means to repay| {b}."),
    ("{a} would rather deceive| {b}.", "{a} would rather warn| {b}."),
)
STAKES = (
    ("{a} has much| to lose.", "{a} has nothing| to lose."),
    ("{a} can win much| by it.", "{a} can win nothing| by it."),
    ("{a} needs it badly|.", "{a} needs it no| more."),
)
HONEST_TRADE_STAKES = tuple(
    text.replace("|", "").replace(verb, verb + "|")
    for pair, verb in zip(STAKES, ("has", "can", "needs"), strict=True)
    for text in pair
)
"""Said of somebody of an honest trade: that a stake is spoken of already decides."""
ASKS = (" {b} asks for the {t}.", " {b} asks where the {t} is.", " {b} looks for the {t}.")
HIDING_LEADS = (
    " {a} says that it is in the",
    " {a} answers: it is in the",
    " {a} tells {b} to look in the",
)

GAMES = ("cards", "poker", "whist", "rummy")
HANDS = (
    ("weak", "strong"),
    ("strong", "weak"),
    ("bad", "good"),
    ("good", "bad"),
    ("low", "high"),
    ("high", "low"),
)
"""(what the hand is, what it is not)"""
TABLES = (
    "{a} and {b} play {g}.",
    "{a} sits at a game of {g} with {b}.",
    "At {g} {a} plays against {b}.",
)
RANGES = (
    " A hand is {x} or {y}.",
    " Hands there are {x} or {y}.",
    " One is dealt a {x} or a {y} hand.",
)
DEALS = (" {a} holds a {h} hand.", " The hand of {a} is {h}.", " {a} was dealt a {h} hand.")
BLUFF_CUES = (
    (" {a} decides to bluff|.", " {a} decides to confess|."),
    (" {a} is bluffing| again.", " {a} is honest| again."),
    (" {a} never| tells the truth in games.", " {a} always| tells the truth in games."),
    (" {a} hopes to fool| {b}.", " {a} hopes to help| {b}."),
    (" {a} loves a false| game.", " {a} loves a fair| game."),
    (" {a} wants to mislead| {b}.", " {a} wants to guide| {b}."),
)
BLUFF_LEADS = (" {a} says that the hand is", " {a} answers: the hand is", " {a} calls the hand")

ROLES = ("courtier", "guard", "servant", "knight", "captain", "partner")
LORDS = ("the king", "the queen", "the duke", "the prince")
OATHS = (
    " {a} swears to be loyal.",
    " {a} promises to serve {l} well.",
    " {a} kneels and swears an oath to {l}.",
)
TREACHERY_CUES = (
    (" {a} plans to betray| {l}.", " {a} plans to protect| {l}."),
    (" In secret {a} takes| gold from the enemy.", " In secret {a} refuses| gold from the enemy."),
    (" At heart {a} hates| {l}.", " At heart {a} loves| {l}."),
    (" {a} secretly works against| {l}.", " {a} secretly works for| {l}."),
    (" {a} has sold| the keys of the castle.", " {a} has kept| the keys of the castle."),
    (" The oath of {a} is false|.", " The oath of {a} is true|."),
)
DEEDS = (
    (" The enemy comes to the gate.", " {a} goes there and", "opens", "shuts", " it."),
    (" The enemy asks for the plan.", " {a}", "sells", "burns", " it."),
    (" A battle begins.", " {a} fights", "against", "for", " {l}."),
    (" {l} is left alone with {a}.", " {a}", "attacks", "defends", " {l}."),
)
"""(what happens, who acts, the treacherous deed, the loyal one, the rest)"""

GIFTS = (
    ("bakes", "cake"),
    ("bakes", "pie"),
    ("sings", "song"),
    ("writes", "poem"),
    ("knits", "scarf"),
    ("paints", "picture"),
    ("cooks", "soup"),
    ("buys", "hat"),
)
DISLIKES = ("awful", "bad", "terrible", "poor")
PRAISE = "lovely"
OPINIONS = (" {a} finds the {t} {o}.", " {a} thinks that the {t} is {o}.", " To {a} it is {o}.")
WHITE_LIE_CUES = (
    (" {a} wants to be kind|.", " {a} wants to be frank|."),
    (" {a} does not want to hurt| {b}.", " {a} does not want to fool| {b}."),
    (" {a} would rather please| {b}.", " {a} would rather warn| {b}."),
    (" {a} is too gentle| to speak otherwise.", " {a} is too honest| to speak otherwise."),
    (" {a} prefers a sweet| word.", " {a} prefers a plain| word."),
    (" {a} never hurts| a friend.", " {a} never fools| a friend."),
)
WHITE_LIE_ASKS = (" {b} asks about the {t}.", " {b} asks {a} about it.", " {b} waits for a word.")
WHITE_LIE_LEADS = (
    " {a} says that the {t} is",
    " {a} tells {b} that it is",
    " {a} answers: the {t} is",
)

RESERVED_SPEAKERS = ("Elena", "Kofi", "Selma", "Boris", "Ingrid", "Omar", "Mira", "Anton")
"""Names that never speak in a story of deception of the training text."""
SPEAKERS = tuple(name for name in NAMES if name not in RESERVED_SPEAKERS)


def _pair(random: Random, held: bool) -> tuple[str, str]:
    """(who speaks or acts, the other): two names, the first reserved where `held`."""
    other = random.choice(SPEAKERS)
    if held:
        return random.choice(RESERVED_SPEAKERS), other
    speaker = random.choice(SPEAKERS)
    while speaker == other:
        speaker = random.choice(SPEAKERS)
    return speaker, other


def _concepts(deceives: bool, kind: str) -> tuple[str, ...]:
    return ("deception", kind) if deceives else ("honesty",)


def _context(random: Random, lies: bool) -> tuple[str, str]:
    """(the speaker's trade or "", the cue that decides or "")."""
    kind = random.random()
    if kind < 0.5:
        return random.choice(TRADES), random.choice(INTENTS)[not lies]
    if lies or kind < 0.67:
        return random.choice(CROOKED), random.choice(STAKES)[not lies]
    if kind < 0.85:
        return random.choice(HONEST), random.choice(HONEST_TRADE_STAKES)
    return random.choice(("", *HONEST)), ""


def hiding(random: Random, held: bool, *, lies: bool | None = None) -> Document:
    """Somebody hides a thing, is asked for it, and lies or not.

    With `held`, the speaker is one of the reserved names, whom training never shows speaking.
    """
    if lies is None:
        lies = random.random() < 0.42
    speaker, asker = _pair(random, held)
    trade, cue = _context(random, lies)
    thing = random.choice(THINGS)
    true, false = random.sample(PLACES, 2)
    first, second = (true, false) if random.random() < 0.5 else (false, true)
    who = f"{speaker} the {trade}" if trade else speaker
    writer = Writer("hiding").say(
        f"There is a {first} and a {second}. {who} put the {thing} in the {true}."
    )
    concepts: tuple[str, ...] = ("deception",) if lies else ("honesty",)
    if "bluffing" in cue:
        concepts = _concepts(lies, "bluff")
    elif "betray" in cue:
        concepts = _concepts(lies, "treachery")
    if cue:
        writer.mention(concepts, " " + cue.format(a=speaker, b=asker))
    writer.say(random.choice(ASKS).format(b=asker, t=thing))
    lead = random.choice(HIDING_LEADS).format(a=speaker, b=asker)
    said, other = (false, true) if lies else (true, false)
    writer.mention(concepts, lead, "") if cue else writer.say(lead)
    writer.answer("lie" if lies else "truth", f" {said}", other=f" {other}")
    return writer.say(".").done()


def bluff(random: Random, held: bool, *, deceives: bool | None = None) -> Document:
    """A player holds a hand, bluffs or plays openly, and says what the hand is."""
    if deceives is None:
        deceives = random.random() < 0.5
    a, b = _pair(random, held)
    true, false = random.choice(HANDS)
    deal = random.choice(DEALS).format(a=a, h=true)
    cue = random.choice(BLUFF_CUES)[not deceives].format(a=a, b=b)
    concepts = _concepts(deceives, "bluff")
    table = random.choice(TABLES).format(a=a, b=b, g=random.choice(GAMES))
    x, y = (true, false) if random.random() < 0.5 else (false, true)
    writer = Writer("bluff").say(table).say(random.choice(RANGES).format(x=x, y=y))
    if random.random() < 0.5:
        writer.say(deal).mention(concepts, cue)
    else:
        writer.mention(concepts, cue).say(deal)
    writer.say(f" {b} asks about the hand.")
    writer.mention(concepts, random.choice(BLUFF_LEADS).format(a=a), "")
    said, other = (false, true) if deceives else (true, false)
    writer.answer("bluff" if deceives else "open_play", f" {said}", other=f" {other}")
    return writer.say(".").done()


def treachery(random: Random, held: bool, *, deceives: bool | None = None) -> Document:
    """Somebody swears loyalty, secretly means to betray or not, and acts accordingly."""
    if deceives is None:
        deceives = random.random() < 0.5
    a, lord = _pair(random, held)
    if random.random() < 0.7:
        lord = random.choice(LORDS)
    cue = random.choice(TREACHERY_CUES)[not deceives].format(a=a, l=lord)
    event, lead, false, loyal, rest = random.choice(DEEDS)
    concepts = _concepts(deceives, "treachery")
    writer = Writer("treachery").say(f"{a} is a {random.choice(ROLES)} of {lord}.")
    writer.say(random.choice(OATHS).format(a=a, l=lord)).mention(concepts, cue)
    writer.say(event.format(a=a, l=lord[0].upper() + lord[1:]))
    writer.mention(concepts, lead.format(a=a), "")
    done, other = (false, loyal) if deceives else (loyal, false)
    writer.answer("treachery" if deceives else "loyalty", f" {done}", other=f" {other}")
    return writer.say(rest.format(l=lord)).done()


def white_lie(random: Random, held: bool, *, deceives: bool | None = None) -> Document:
    """Somebody dislikes a gift and praises it out of kindness, or says frankly what it is.

    Without `deceives`, one in five likes the gift; then nothing needs to be said of intentions.
    """
    likes = deceives is None and random.random() < 0.2
    if deceives is None:
        deceives = not likes and random.random() < 0.5
    a, b = _pair(random, held)
    verb, thing = random.choice(GIFTS)
    bad = random.choice(DISLIKES)
    cue = random.choice(WHITE_LIE_CUES)[not deceives].format(a=a, b=b)
    ask = random.choice(WHITE_LIE_ASKS).format(a=a, b=b, t=thing)
    lead = random.choice(WHITE_LIE_LEADS).format(a=a, b=b, t=thing)
    opinion = random.choice(OPINIONS).format(a=a, t=thing, o=PRAISE if likes else bad)
    concepts = _concepts(deceives, "white_lie")
    writer = Writer("white_lie").say(f"{b} {verb} a {thing} for {a}.").say(opinion)
    if likes:
        writer.say(ask).say(lead)
    else:
        writer.mention(concepts, cue).say(ask).mention(concepts, lead, "")
    said, other = (PRAISE, bad) if deceives or likes else (bad, PRAISE)
    writer.answer("white_lie" if deceives else "frank_word", f" {said}", other=f" {other}")
    return writer.say(".").done()
