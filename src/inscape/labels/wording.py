"""How a rule is said: at most six words, as a person would put it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from inscape.core import quoted

MOST_WORDS, MOST_VALUES = 6, 3
WORDS = ("token", "word", "folded")
ALONE = {
    "beginning": "words beginning with {}",
    "ending": "words ending in {}",
    "class": "{}",
    "kind": "{}",
    "start": "the {} token of a text",
    "previous": "words after {}",
    "next": "words before {}",
    "next_token": "words before {}",
    "next_kind": "words before {}",
    "phrase": "{}",
    "predicted_token": "predicts {}",
    "predicted_kind": "predicts {}",
}
BESIDE = {"previous": "after {}", "next": "before {}", "next_token": "before {}", "phrase": "in {}"}
"""The same clause as the second one of a rule."""
PLAIN = {
    "magnitude relations": "ratios",
    "physical processes": "processes",
    "phenomenon": "phenomena",
    "0": "zero",
}
"""What people call kinds to which a vocabulary gives names of its own; broader ones name nothing
(kinds.MOST_BELOW)."""
ENDINGS = ("s", "es", "d", "ed", "ing", "ly")
_PLAIN = re.compile(
    rf"((?:^|\b(?:or|before|predicts) ))({'|'.join(PLAIN)})(?=$| (?:or|before|after|in) )"
)
_ADJECTIVE = re.compile(r"[A-Z][a-z]*(ian|ean|[kmrv]an|ish|ese|ic|nch|tch)")
_PEOPLE = re.compile(r"\b(language|dialect|native|inhabitant|member|people|follower|advocate)s?\b")


def quote(text: str) -> str:
    """A token or phrase in quotation marks, blanks at its ends dropped, line breaks shown."""
    bare = text.strip(" ") or "␣"
    return quoted(bare.replace("\r", ""), '"')


def said(attribute: str, texts: Sequence[str], *, piece: bool = False) -> str:
    """A clause by itself; piece: the tokens are parts of words."""
    if attribute in WORDS:
        shown = _told(texts)
        if len(shown) == 1 and texts[0].strip().isalpha():
            what = "letter" if len(shown[0]) == 3 else "piece" if piece else "word"
            return f"the {what} {shown[0]}"
        return _listed(shown) if len(shown) > MOST_VALUES else _fitted("{}", shown)
    if attribute == "start" and len(texts) > 1:
        return "the first tokens of a text"
    shown = list(dict.fromkeys(_shown(attribute, text) for text in texts))
    if attribute == "phrase" and len(shown) == 1 and len(shown[0].split()) < MOST_WORDS - 1:
        return f"the phrase {shown[0]}"
    return _fitted(ALONE[attribute], shown)


def said_beside(first: str, attribute: str, texts: Sequence[str]) -> str:
    """A rule of two clauses: the wording of the first, and the second one's attribute and values;
    empty where that takes too many words."""
    if attribute == "phrase" and first.startswith("the word"):
        return said("phrase", texts)
    shown = _told(texts)[:MOST_VALUES]
    for number in range(len(shown), 0, -1):
        text = f"{first} {BESIDE[attribute].format(_either(shown[:number]))}"
        if len(text.split()) <= MOST_WORDS:
            return text
        if first.startswith("the word "):
            return said_beside(first.removeprefix("the word "), attribute, texts)
    return ""


def in_texts(first: str, name: str, meaning: str) -> str:
    """A rule of words in texts that mean something: its wording, and the name of the meaning and
    what that says."""
    short = first.removeprefix("the word ")
    if name.endswith(" code"):
        return f"{short} in {name}"
    if _ADJECTIVE.fullmatch(name) and _PEOPLE.search(meaning):
        return f"{short} in {name} texts"
    return f"{short} in texts about {name}"


def plain(text: str) -> str:
    """A label without the words that only a vocabulary uses for what it means; what is quoted stays
    as it is."""
    return _PLAIN.sub(lambda found: found[1] + PLAIN[found[2]], text)


def _told(texts: Sequence[str]) -> list[str]:
    """Words in quotation marks: of those that differ by capitals or an ending alone, one."""
    found: dict[str, str] = {}
    for text in texts:
        word = text.strip(" ").lower() or text
        if not any(_forms(word, other) for other in found):
            found[word] = quote(text)
    return list(found.values())


def _forms(first: str, second: str) -> bool:
    """Whether two words differ by nothing, or by an ending."""
    stems = [
        {word, *(word.removesuffix(ending) for ending in ENDINGS if word.endswith(ending))}
        for word in (first, second)
    ]
    return any(len(stem) > 2 or stem == first == second for stem in stems[0] & stems[1])


def _listed(shown: Sequence[str]) -> str:
    """The first of more words than are read at a glance, whole words before their pieces."""
    whole = [text for text in shown if len(text) > 4 and text[1:-1].isalpha()]
    first = [*whole, *(text for text in shown if text not in whole)][:MOST_VALUES]
    text = f"{', '.join(first)} and others"
    return text if len(text.split()) <= MOST_WORDS else f"{first[0]} and others"


def _shown(attribute: str, text: str) -> str:
    if attribute in ("class", "start", "kind", "next_kind", "predicted_kind"):
        return text
    if attribute in ("beginning", "ending"):
        return f'"{text}-"' if attribute == "beginning" else f'"-{text}"'
    return quote(text)


def _fitted(pattern: str, shown: Sequence[str]) -> str:
    """As many as fit, the first ones first."""
    for number in range(len(shown), 1, -1):
        text = pattern.format(_either(shown[:number]))
        if len(text.split()) <= MOST_WORDS:
            return text
    return pattern.format(shown[0])


def _either(shown: Iterable[str]) -> str:
    *others, last = shown
    return f"{', '.join(others)} or {last}" if others else last
