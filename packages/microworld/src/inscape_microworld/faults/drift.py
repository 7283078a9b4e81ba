"""Where somebody lives was said long ago; a late, vivid word of another city draws the answer.

In the twins the other city is named as late, in plain words. The rivals ask for the acclaimed
city itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from inscape.core import seeded
from inscape_microworld.document import Writer
from inscape_microworld.domains.journeys import CITIES, HOME_QUESTIONS, PLAIN, VIVID, tell
from inscape_microworld.facts import NAMES
from inscape_microworld.faults.fault import Fault, FaultPrompt, Prompt, halves

PER_PHRASE = 5


def _cities(random: Random) -> list[str]:
    """Two cities with different first letters, so that their first tokens differ."""
    while True:
        cities = random.sample(CITIES, 2)
        if cities[0][0] != cities[1][0]:
            return cities


def _passage(random: Random) -> tuple[str, str, str, str]:
    """(a passage of two to four sentences of filler, the question, the home, another city)."""
    person, *cast = random.sample(NAMES, 3)
    home, other = _cities(random)
    writer = Writer("journey").say(f"{person} lives in the city of {home}.")
    tell(random, writer, random.randint(2, 4), cast)
    before, rest, after = random.choice(HOME_QUESTIONS)
    question = f" {before} {person}{rest.replace('|', '')}{after}"
    return writer.done().text, question, home, other


def _half(random: Random, vivid: Sequence[str], plain: Sequence[str]) -> tuple[FaultPrompt, ...]:
    prompts = []
    for index in range(PER_PHRASE * len(vivid)):
        phrase, dull = vivid[index % len(vivid)], plain[index % len(plain)]
        passage, question, home, other = _passage(random)
        twin = Prompt(f"{passage} Everybody {dull} {other}.{question}", f" {home}")
        text = f"{passage} Everybody {phrase} {other}.{question}"
        prompts.append(FaultPrompt(text, f" {home}", f" {other}", phrase, twin))
    return tuple(prompts)


def _rivals(random: Random, vivid: Sequence[str]) -> tuple[Prompt, ...]:
    prompts = []
    for index in range(PER_PHRASE * len(vivid)):
        phrase = vivid[index % len(vivid)]
        passage, _, _, other = _passage(random)
        question = f" The city that everybody {phrase} is"
        prompts.append(Prompt(f"{passage} Everybody {phrase} {other}.{question}", f" {other}"))
    return tuple(prompts)


def _others(random: Random, count: int) -> tuple[Prompt, ...]:
    passages = [_passage(random) for _ in range(count)]
    return tuple(Prompt(passage + question, f" {home}") for passage, question, home, _ in passages)


def fault() -> Fault:
    """The city that everybody sang of is said to be somebody's home."""
    random = Random(seeded(0, "drift"))
    vivid, plain = halves(VIVID), halves(PLAIN)
    select, judge = (_half(random, bright, dull) for bright, dull in zip(vivid, plain, strict=True))
    rivals = [_rivals(random, half) for half in vivid]
    others = [_others(random, 40) for _ in vivid]
    return Fault(
        "drift",
        "a city that is acclaimed late is said to be somebody's home",
        "acclaim",
        "soft",
        "drifted",
        select,
        judge,
        rivals[0],
        rivals[1],
        others[0],
        others[1],
    )
