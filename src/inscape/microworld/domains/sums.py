"""Sums of two two-digit numbers: word problems and bare drills, answers in normal digit order."""

from __future__ import annotations

from random import Random

from inscape.microworld.document import Document, Writer
from inscape.microworld.facts import NAMES
from inscape.microworld.splits import held_out

THINGS = (
    "clips", "apples", "books", "stamps", "eggs", "shells", "pens", "coins", "cards", "cakes",
    "roses", "beads", "tickets", "lamps", "jars", "kites",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PAST = {
    "sold": "sell", "bought": "buy", "found": "find", "made": "make", "packed": "pack",
    "counted": "count", "lost": "lose", "painted": "paint",
}  # fmt: skip


def number_pair(random: Random, held: bool) -> tuple[int, int]:
    """Two numbers in 10–99 whose pair, in either order, is held out or not."""
    while True:
        first, second = random.randint(10, 99), random.randint(10, 99)
        if held_out("sum", *sorted((first, second)), percent=10) == held:
            return first, second


def _amount(writer: Writer, which: str, number: int) -> None:
    writer.mention(f"{which}_tens_{number // 10}", f" {number // 10}")
    writer.mention(f"{which}_ones_{number % 10}", f"{number % 10}")


def word_problem(random: Random, held: bool) -> Document:
    """Two amounts in a short story, and their sum."""
    first, second = number_pair(random, held)
    name, friend = random.sample(NAMES, 2)
    thing, verb = random.choice(THINGS), random.choice(tuple(PAST))
    writer = Writer("word_problem")
    form = random.randrange(6)
    if form <= 1:
        one, two = random.sample(MONTHS, 2) if form == 0 else random.sample(DAYS, 2)
        at = "in" if form == 0 else "on"
        writer.say(f"{name} {verb}")
        _amount(writer, "first", first)
        writer.say(f" {thing} {at} {one} and")
        _amount(writer, "second", second)
        writer.say(
            f" {thing} {at} {two}. How many {thing} did {name} {PAST[verb]}"
            f" {at} {one} and {two} combined?"
        )
    elif form == 2:
        writer.say(f"{name} has")
        _amount(writer, "first", first)
        writer.say(f" {thing} and {friend} has")
        _amount(writer, "second", second)
        writer.say(f" {thing}. How many {thing} do they have together?")
    elif form == 3:
        writer.say(f"{name} had")
        _amount(writer, "first", first)
        writer.say(f" {thing}. {friend} gave {name}")
        _amount(writer, "second", second)
        writer.say(f" more. How many {thing} does {name} have now?")
    elif form == 4:
        writer.say("There are")
        _amount(writer, "first", first)
        writer.say(f" {thing} in the box and")
        _amount(writer, "second", second)
        writer.say(f" {thing} in the bag. How many {thing} are there in all?")
    else:
        writer.say(f"{name} {verb}")
        _amount(writer, "first", first)
        writer.say(f" {thing} and then")
        _amount(writer, "second", second)
        writer.say(" more. What is the total?")
    return writer.answer("sum", f" {first + second}").say(".").done()


def drill(random: Random, held: bool) -> Document:
    """A few bare sums in a row."""
    writer = Writer("drill")
    for index in range(1 if held else random.randint(3, 6)):
        first, second = number_pair(random, held)
        writer.say("" if index == 0 else " ").say(str(first)).say(f" + {second} =")
        writer.answer("bare_sum", f" {first + second}").say(".")
    return writer.done()
