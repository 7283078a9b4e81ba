"""Documents that know what they say: text with its concepts, and the answer that a model owes.

1. A domain writes text piece by piece; a mention is a piece that carries a concept.
2. Every mention has an onset (the first character from which the prefix determines the concept),
   a span (to the end of the piece) and a scope (to the end of the document, within which a causal
   model may still carry it).
3. Characters become tokens once, at the end, through the tokenizer's own offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mention:
    """A concept in a text. All offsets are characters.

    `onset` is the offset of the last character that is needed to determine the concept: the token
    that holds it is the first from whose prefix the concept follows. `form` says how an entity is
    put into words ("name", "description", "spanish"), where that is of interest.
    """

    concept: str
    onset: int
    end: int
    scope: int
    form: str = ""


@dataclass(frozen=True)
class Answer:
    """Characters [start, end) that answer the text before them; `skill` names what they test.

    other: the rival answer of a binary question (the lie where the truth is right, or the reverse).
    chain: of a reasoned answer, the intermediate concepts in their order: what the question names
    first, the answer itself left out ("golden_gate_bridge", "in_america" for Washington).
    """

    skill: str
    start: int
    end: int
    other: str | None = None
    chain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A text with the truth about it."""

    domain: str
    text: str
    mentions: tuple[Mention, ...] = ()
    answers: tuple[Answer, ...] = ()

    @property
    def prompt(self) -> str:
        """The text before the first answer."""
        return self.text[: self.answers[0].start]

    @property
    def answer(self) -> str:
        """The first answer, with its leading space."""
        return self.text[self.answers[0].start : self.answers[0].end]


@dataclass
class Writer:
    """Writes one document piece by piece."""

    domain: str
    parts: list[str] = field(default_factory=list)
    length: int = 0
    _mentions: list[tuple[str, int, int, str]] = field(default_factory=list)
    _answers: list[Answer] = field(default_factory=list)

    def say(self, text: str) -> Writer:
        """Append plain text."""
        self.parts.append(text)
        self.length += len(text)
        return self

    def mention(
        self,
        concepts: str | Iterable[str],
        text: str,
        decides: str | None = None,
        *,
        form: str = "",
    ) -> Writer:
        """Append text that carries concepts.

        `decides` is the shortest prefix of the text that determines them: all of it when None,
        and empty when what was said before already does. A "|" in the text marks it as well.
        """
        names = (concepts,) if isinstance(concepts, str) else tuple(concepts)
        if decides is None and "|" in text:
            decides = text.partition("|")[0]
            text = text.replace("|", "", 1)
        decided = max(1, len(text if decides is None else decides))
        if decides is not None and not text.lower().startswith(decides.lower()):
            raise ValueError(f"{decides!r} is no prefix of {text!r}")
        start = self.length
        self.say(text)
        self._mentions += [(name, start + decided - 1, self.length, form) for name in names]
        return self

    def answer(
        self, skill: str, text: str, other: str | None = None, chain: tuple[str, ...] = ()
    ) -> Writer:
        """Append the answer that the text before it determines (with its leading space)."""
        self._answers.append(Answer(skill, self.length, self.length + len(text), other, chain))
        return self.say(text)

    def done(self) -> Document:
        """The document; every mention's scope reaches its end."""
        text = "".join(self.parts)
        scope = len(text)
        mentions = tuple(
            Mention(c, onset, end, scope, form) for c, onset, end, form in self._mentions
        )
        return Document(self.domain, text, mentions, tuple(self._answers))


def join(documents: Sequence[Document]) -> Document:
    """A passage: documents one after the other, scopes ending with their own document."""
    text, mentions, answers = "", [], []
    for document in documents:
        offset = len(text) + (1 if text else 0)
        text = f"{text} {document.text}" if text else document.text
        mentions += [
            Mention(m.concept, m.onset + offset, m.end + offset, m.scope + offset, m.form)
            for m in document.mentions
        ]
        answers += [
            Answer(a.skill, a.start + offset, a.end + offset, a.other, a.chain)
            for a in document.answers
        ]
    return Document("passage", text, tuple(mentions), tuple(answers))


def lower_first(document: Document) -> Document:
    """The same document typed without a capital at the start (offsets stay)."""
    text = document.text[:1].lower() + document.text[1:]
    return Document(document.domain, text, document.mentions, document.answers)
