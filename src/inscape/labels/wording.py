"""How a rule is said: at most six words, as a person would put it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inscape.core import quoted

MOST_WORDS = 6
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


def quote(text: str) -> str:
    """A token or phrase in quotation marks, blanks at its ends dropped, line breaks shown."""
    bare = text.strip(" ") or "␣"
    return quoted(bare.replace("\r", ""), '"')


def said(attribute: str, texts: Sequence[str], *, piece: bool = False) -> str:
    """A clause by itself; piece: the tokens are parts of words."""
    if attribute in WORDS:
        shown = list(dict.fromkeys(map(quote, texts)))
        if len(shown) == 1 and piece:
            return f"the piece {shown[0]}"
        if len(shown) == 1 and texts[0].strip().isalpha():
            return f"the word {shown[0]}"
        return _fitted("{}", shown)
    shown = [_shown(attribute, text) for text in dict.fromkeys(texts)]
    if attribute == "phrase" and len(shown) == 1 and len(shown[0].split()) < MOST_WORDS - 1:
        return f"the phrase {shown[0]}"
    return _fitted(ALONE[attribute], shown)


def said_beside(first: str, attribute: str, texts: Sequence[str]) -> str:
    """A rule of two clauses: the wording of the first, and the second one's attribute and values;
    empty where that takes too many words."""
    if attribute == "phrase" and first.startswith("the word"):
        return said("phrase", texts)
    shown = list(dict.fromkeys(map(quote, texts)))
    for number in range(len(shown), 0, -1):
        text = f"{first} {BESIDE[attribute].format(_either(shown[:number]))}"
        if len(text.split()) <= MOST_WORDS:
            return text
        if first.startswith("the word "):
            return said_beside(first.removeprefix("the word "), attribute, texts)
    return ""


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
