"""Short programs in a tiny Python-like language, some with one bug, and a verdict on each.

A program is two or three statements, " ; " between them. Its bug is an undefined name, a bracket
that is never closed, or an operator that does not fit the function's name. Held out are
combinations of two names and an operator or function.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from inscape_microworld.document import Answer, Document, Mention
from inscape_microworld.splits import held_out

Bug = Literal["name", "bracket", "operator", "none"]
BUGS: tuple[Bug, ...] = ("name", "bracket", "operator")

VARIABLES = ("x", "y", "z", "a", "b", "n", "k", "m", "total", "size", "price", "count")
FUNCTIONS = {
    "add": "+",
    "sum": "+",
    "subtract": "-",
    "minus": "-",
    "multiply": "*",
    "times": "*",
    "divide": "/",
}
OPERATORS = ("+", "-", "*", "/")
FORMS = ("chain", "chain", "define", "define", "loop")
# "$" marks a name that is used, "@" the operator that the function's name asks for; {i}, {j} and
# {k} are digits.
PROGRAMS: dict[str, tuple[str, ...]] = {
    "chain": (
        "{a} = {i} ; {b} = ${a} {o} {j} ; print ( ${b} )",
        "{a} = {i} ; {b} = ( ${a} {o} {j} ) * {k} ; print ( ${b} )",
        "{a} = {i} ; {b} = {j} ; print ( ${a} {o} ${b} )",
    ),
    "define": (
        "def {o} ( {a} , {b} ) : return ${a} @ ${b}",
        "def {o} ( {a} , {b} ) : return ${a} @ ${b} ; print ( ${o} ( {i} , {j} ) )",
        "def {o} ( {a} , {b} ) : return ( ${a} @ ${b} ) ; print ( ${o} ( {i} , {j} ) )",
    ),
    "loop": (
        "{a} = {i} ; for {b} in range ( {j} ) : {a} = ${a} {o} ${b} ; print ( ${a} )",
        "{a} = {i} ; for {b} in range ( ${a} ) : print ( ${b} {o} {k} )",
    ),
}


def _combinations(form: str, held: bool) -> tuple[tuple[str, str, str], ...]:
    """All (name, other name, operator or function) that are held out, or all others."""
    kinds = tuple(FUNCTIONS) if form == "define" else OPERATORS[:3]
    return tuple(
        (a, b, kind)
        for a in VARIABLES
        for b in VARIABLES
        for kind in kinds
        if a != b and held_out("code", form, a, b, kind) == held
    )


_COMBINATIONS = {
    (form, held): _combinations(form, held) for form in PROGRAMS for held in (False, True)
}


def _other(random: Random, names: tuple[str, ...], used: tuple[str, ...]) -> str:
    name = random.choice(names)
    while name in used:
        name = random.choice(names)
    return name


def _break(random: Random, tokens: list[str], bug: Bug, names: tuple[str, str, str]) -> int | None:
    """Put the bug into the program; the index of the token that shows it, None without a bug."""
    if bug == "none":
        return None
    if bug == "bracket":
        at = random.choice([i for i, token in enumerate(tokens) if token == ")"])
        del tokens[at]
        while tokens[at] not in (";", ":", "#"):
            at += 1
        return at
    mark = "$" if bug == "name" else "@"
    at = random.choice([i for i, token in enumerate(tokens) if token[0] == mark])
    if bug == "operator":
        tokens[at] = _other(random, OPERATORS, (FUNCTIONS[names[2]],))
    elif tokens[at][1:] in FUNCTIONS:
        tokens[at] = _other(random, tuple(FUNCTIONS), names)
    else:
        tokens[at] = _other(random, VARIABLES, names)
    return at


def code(random: Random, held: bool, *, bug: Bug | None = None) -> Document:
    """A short program and the verdict whether it has a bug.

    bug: the kind of bug; drawn when None (half of the programs have none). "operator" makes the
    program define a function.
    """
    form = "define" if bug == "operator" else random.choice(FORMS)
    kind: Bug = "none"
    if bug is not None:
        kind = bug
    elif random.random() < 0.5:
        kind = random.choice(BUGS[: 2 + (form == "define")])
    names = random.choice(_COMBINATIONS[form, held])
    a, b, o = names
    i, j, k = random.choices("123456789", k=3)
    program = random.choice(PROGRAMS[form]).format(a=a, b=b, o=o, i=i, j=j, k=k)
    tokens = [*program.split(), "#"]
    shown = _break(random, tokens, kind, names)
    right = FUNCTIONS.get(o, "")
    tokens = [right if token == "@" else token.lstrip("$") for token in tokens]
    end = len(" ".join(tokens))
    said, other = (" fine", " bug") if shown is None else (" bug", " fine")
    text = " ".join(tokens) + said
    # A name alone may begin a sentence; "=" behind it, or "def", is code.
    first = len("def") if form == "define" else len(f"{a} =")
    mentions = [Mention("code", first - 1, end, len(text))]
    answers = [Answer("code_bug", end, len(text), other)]
    if shown is not None:
        onset = len(" ".join(tokens[: shown + 1])) - 1
        mentions.append(Mention("code_bug", onset, end, len(text)))
        culprit = " (" if kind == "bracket" else f" {tokens[shown]}"
        text += " :"
        answers.append(Answer("code_culprit", len(text), len(text) + len(culprit)))
        text += culprit
    return Document("code", text, tuple(mentions), tuple(answers))
