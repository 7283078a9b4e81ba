"""How features and tokens are shown: labels, quoted texts, parts of characters joined."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TypeAlias

LabelOf: TypeAlias = Callable[[str, int], str | None]
"""From a dictionary's name and a feature's number to its label, None without one. Asked when a
result is shown, so that a new label shows in old results too (`Atlas.feature_label`)."""


def no_label(dictionary: str, feature: int) -> str | None:
    """Where there are no labels."""
    return None


def tokens_as_label(tokens: Iterable[str]) -> str | None:
    """What is shown in place of a missing label: the tokens that a feature is most active on, said
    to be tokens, so that they do not pass for a name; None without any."""
    listed = ", ".join(map(quoted, tokens))
    return f"tokens: {listed}" if listed else None


def with_signs(text: str) -> str:
    """The text with a sign for each line end and tab."""
    return text.translate(_SIGNS)


def quoted(text: str, mark: str = "'") -> str:
    """The text in quotation marks, in others where it holds these; line ends and tabs as signs,
    what cannot be printed escaped."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in with_signs(text)
    )
    begin, end = next(((m, m) for m in (mark, "'", '"') if m not in shown), ("“", "”"))
    return f"{begin}{shown}{end}"


_SIGNS = str.maketrans({"\n": "↵", "\t": "⇥"})
_BYTE = re.compile("<0x([0-9A-F]{2})>")
AS_BYTES = "inscape.bytes"
"""How `bytes.decode` shows bytes that are no whole character: <0xEB>."""


def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    part = error.object[error.start : error.end]
    return "".join(f"<0x{byte:02X}>" for byte in part), error.end


codecs.register_error(AS_BYTES, _marked)


def characters(tokens: Sequence[str]) -> list[str]:
    """The tokens of a text, with characters that several make up together shown at the last of
    these and the others empty; bytes that are no whole character stay as they are, as <0xEB>."""
    shown = list(tokens)
    for cut, run in groupby(range(len(tokens)), key=lambda i: bool(_BYTE.search(tokens[i]))):
        if not cut:
            continue
        decoder, held = codecs.getincrementaldecoder("utf-8")(AS_BYTES), ""
        for i in (places := list(run)):
            pieces = _BYTE.split(tokens[i])  # text and the digits of bytes in turn
            raw = [p.encode("utf-8", "replace") for p in pieces]
            raw[1::2] = [bytes([int(digits, 16)]) for digits in pieces[1::2]]
            held += decoder.decode(b"".join(raw))
            unfinished = bool(decoder.getstate()[0])
            shown[i], held = ("", held) if unfinished else (held, "")
        shown[places[-1]] += held + decoder.decode(b"", final=True)
    return shown


def first_shown(tokens: Sequence[str], place: int) -> int:
    """The first place from `place` on at which `characters` shows something."""
    return next((i for i in range(place, len(tokens)) if tokens[i]), place)
