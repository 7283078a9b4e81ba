"""Sets of prompts that show a behaviour, with the role of each part of a prompt.

A set is a file of prompts (.jsonl), one on a line:

    {"prompt": "When Mary and John went out, John gave a ring to", "answer": " Mary",
     "wrong": " John", "other": "When Mary and John went out, Mary gave a ring to",
     "roles": {"receiver": "Mary", "giver": ["John", 2]}, "template": "went out"}

`other` is the prompt with which it is compared, whose answer is `wrong`; a role names a part of the
text, or its second occurrence, so that prompts of different lengths are compared part by part.

Or it is drawn from a file of templates (.json): lists of words, slots that draw from them,
templates in which slots stand in brackets, and which slots take another's filling in the other
prompt:

    {"words": {"names": ["Mary", "John", "Anna"], "places": ["store", "park"]},
     "slots": {"A": "names", "B": "names", "PLACE": "places"},
     "templates": ["When [A] and [B] went to the [PLACE], [B] gave a ring to"],
     "answer": " [A]", "wrong": " [B]", "other": {"B 2": "A"},
     "roles": {"A": "receiver", "B": "giver", "B 2": "giver again"}}

A word may be a record, such as {"country": "France", "capital": "Paris"}: [X.country]. Slots that
draw from one list get different words. Some such files are part of the package (`SETS`).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from inscape.core import InputError, seeded, short, whole

FOLDER = Path(__file__).parent / "sets"
SETS = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
_SLOT = re.compile(r"\[([A-Za-z_]+(?:\.[A-Za-z_]+)?)\]")
_TRIES = 200
_FIELDS = ("prompt", "answer", "wrong", "other", "roles", "other_roles", "template")


@dataclass(frozen=True)
class Example:
    """A prompt, its answers, and the prompt that it is compared with.

    answers, wrong: one or more each; the behaviour is that the model prefers the first to the
        second. other: whose answer is `wrong`. roles: parts of the prompt [start, end) by name, in
        characters; other_roles: the same parts of `other`. template: what prompts like it are
        called. place: where it comes from, for messages.
    """

    prompt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    other: str
    roles: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    other_roles: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    template: str = ""
    place: str = ""


def read_set(source: str | Path, num: int = 80, seed: int = 0) -> list[Example]:
    """The examples of a set: the lines of a .jsonl file, or `num` drawn from a .json file of
    templates or from one of `SETS` by name.

    Raises:
        InputError: there is no such file or set, or a line of it lacks something (it is named).
    """
    whole(num, "num", 1)
    path = FOLDER / f"{source}.json" if str(source) in SETS else Path(source)
    if not path.is_file():
        raise InputError(
            f"there is no set of prompts {short(str(source))}",
            expected=f"a .jsonl file of prompts, a .json file of templates, or {', '.join(SETS)}",
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".json":
        return draw(_parsed(text, str(path)), num, seed, place=path.name)
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no prompts", expected="a prompt on each line")
    places = [f"{path.name} line {n}" for n, _ in lines]
    return [
        _example(_parsed(line, place), place)
        for place, (_, line) in zip(places, lines, strict=True)
    ]


def _parsed(text: str, place: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{place} is no JSON ({error})", expected="a JSON object") from error
    if not isinstance(content, dict):
        raise InputError(f"{place} is {short(content)}", expected="a JSON object")
    return content


def _texts(content: Mapping[str, Any], name: str, place: str) -> tuple[str, ...]:
    value = content.get(name)
    found = (value,) if isinstance(value, str) else value
    if (
        not isinstance(found, list | tuple)
        or not found
        or not all(isinstance(text, str) and text for text in found)
    ):
        raise InputError(
            f"{place}: {name} is {short(value)}", expected=f"{name!r}: a text, or a list of texts"
        )
    return tuple(found)


def _example(content: Mapping[str, Any], place: str) -> Example:
    for name in content.keys() - set(_FIELDS):
        meant = get_close_matches(name, _FIELDS, 1, 0.8)
        if meant:  # any other name is somebody's own remark
            raise InputError(f"{place}: there is a field {name!r}", expected=repr(meant[0]))
    prompt, other = (_texts(content, name, place)[0] for name in ("prompt", "other"))
    if prompt == other:
        raise InputError(
            f"{place}: the other prompt is the same", expected="one with another answer"
        )
    roles = content.get("roles", {})
    if not isinstance(roles, dict):
        raise InputError(f"{place}: roles are {short(roles)}", expected="parts of the text by name")
    return Example(
        prompt=prompt,
        answers=_texts(content, "answer", place),
        wrong=_texts(content, "wrong", place),
        other=other,
        roles={name: _part(prompt, part, name, place) for name, part in roles.items()},
        other_roles={
            name: _part(other, part, name, place)
            for name, part in {**roles, **content.get("other_roles", {})}.items()
        },
        template=str(content.get("template", "")),
        place=place,
    )


def _part(text: str, part: Any, role: str, place: str) -> tuple[int, int]:
    """Where a part of the text lies: given as text, as text and occurrence, or as characters."""
    if isinstance(part, list) and [type(p) for p in part] == [int, int]:
        if 0 <= part[0] < part[1] <= len(text):
            return part[0], part[1]
    else:
        wanted, number = part if isinstance(part, list) and len(part) == 2 else (part, 1)
        if isinstance(wanted, str) and wanted and isinstance(number, int) and number >= 1:
            found = [m.start() for m in re.finditer(re.escape(wanted), text)]
            if len(found) >= number:
                return found[number - 1], found[number - 1] + len(wanted)
    raise InputError(
        f"{place}: {short(part)}, the part called {role!r}, is not in {short(text)}",
        expected='a part of the prompt, as "John", ["John", 2] for its second occurrence, or '
        "[start, end] in characters; of the other prompt in other_roles where it differs",
    )


def draw(content: Mapping[str, Any], num: int, seed: int = 0, place: str = "") -> list[Example]:
    """`num` different examples of a set of templates (see the module); fewer where there are not so
    many.

    Raises:
        InputError: a slot, a list or a field is missing; it is named.
    """
    templates = _texts(content, "templates", place)
    words, slots = (_table(content, name, place) for name in ("words", "slots"))
    for slot, name in slots.items():
        if not isinstance(words.get(name), list) or not words[name]:
            raise InputError(
                f"{place}: slot {slot} draws from {name!r}", expected=f"one of {', '.join(words)}"
            )
    generator = random.Random(seeded(seed, "draw"))
    found: dict[tuple[str, str], Example] = {}
    for _ in range(num * _TRIES):
        if len(found) == num:
            break
        template = templates[len(found) % len(templates)]
        filled = _fill(words, slots, generator)
        made = _made(content, template, filled, place)
        if set(made.answers) != set(made.wrong) and made.prompt != made.other:
            found.setdefault((made.prompt, made.other), made)
    return list(found.values())


def _table(content: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict) or not value:
        raise InputError(f"{place}: {name} is {short(value)}", expected=f"{name!r}: by name")
    return value


def _fill(
    words: Mapping[str, list[Any]], slots: Mapping[str, str], generator: random.Random
) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for slot, name in slots.items():
        taken = [filled[s] for s in filled if slots[s] == name]
        free = [word for word in words[name] if word not in taken]
        if not free:
            raise InputError(
                f"list {name!r} has {len(words[name])} words", expected="one for each slot of it"
            )
        filled[slot] = generator.choice(free)
    return filled


def _value(filled: Mapping[str, Any], slot: str, place: str) -> Any:
    name, _, key = slot.partition(".")
    value = filled.get(name)
    if key:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None or isinstance(value, dict):
        raise InputError(
            f"{place}: [{slot}] has no filling",
            expected=f"a slot among {', '.join(filled)}, with the field of a record: [X.country]",
        )
    return value


def _made(
    content: Mapping[str, Any], template: str, filled: Mapping[str, Any], place: str
) -> Example:
    swap = content.get("other", {})
    names = content.get("roles", {})
    prompt, roles = _rendered(template, filled, {}, names, place)
    other, other_roles = _rendered(template, filled, swap, names, place)
    return Example(
        prompt=prompt,
        answers=_answers(_texts(content, "answer", place), filled, place),
        wrong=_answers(_texts(content, "wrong", place), filled, place),
        other=other,
        roles=roles,
        other_roles=other_roles,
        template=template,
        place=f"{place}: {short(prompt)}",
    )


def _rendered(
    template: str,
    filled: Mapping[str, Any],
    swap: Mapping[str, str],
    names: Mapping[str, str],
    place: str,
) -> tuple[str, dict[str, tuple[int, int]]]:
    """The text of a template, and where its slots lie."""
    text, end = "", 0
    count: dict[str, int] = {}
    roles: dict[str, tuple[int, int]] = {}
    for match in _SLOT.finditer(template):
        slot = match[1]
        base = slot.partition(".")[0]
        count[slot] = count.get(slot, 0) + 1
        called = slot if count[slot] == 1 else f"{slot} {count[slot]}"
        taken = swap.get(f"{slot} {count[slot]}", swap.get(slot, swap.get(base, slot)))
        if "." in slot and "." not in taken:
            taken = f"{taken}.{slot.partition('.')[2]}"
        text += template[end : match.start()]
        word = str(_value(filled, taken, place))
        roles[names.get(called, called)] = (len(text), len(text) + len(word))
        text, end = text + word, match.end()
    return text + template[end:], roles


def _answers(patterns: Sequence[str], filled: Mapping[str, Any], place: str) -> tuple[str, ...]:
    found: list[str] = []
    for pattern in patterns:
        whole_slot = _SLOT.fullmatch(pattern)
        value = _value(filled, whole_slot[1], place) if whole_slot else None
        if isinstance(value, list):
            found += map(str, value)
        else:
            found.append(_SLOT.sub(lambda m: str(_value(filled, m[1], place)), pattern))
    return tuple(found)
