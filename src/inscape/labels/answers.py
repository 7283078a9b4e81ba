"""Answers of a language model, kept as they come, and what they have cost.

One line of JSON for each answer, and for each try that a server may charge though no answer came:

feature; question: a hash of the model's name and of the whole question; answer: the text, or null;
label: null where the answer is malformed; prompt_tokens, completion_tokens

Lines are only ever added. One that a kill cut short is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from inscape.core import InputError, finite_number, whole
from inscape.labels.endpoint import Messages, Reply
from inscape.storage import disk_errors, reading

MOST_WORDS, MOST_CHARACTERS = 6, 100
UNCLEAR = "unclear"
MOST_TRIES = 2  # answers that are malformed, until the label is left unclear


@dataclass(frozen=True)
class Limits:
    """What asking may cost.

    Attributes:
        max_tokens: of questions and answers together.
        max_cost: in the unit of the prices.
        input_price, output_price: of a million tokens of questions and of answers.

    Raises:
        InputError: a number out of range, or a cost without prices.
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    input_price: float | None = None
    output_price: float | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            whole(self.max_tokens, "most tokens", 0)
        for name in ("max_cost", "input_price", "output_price"):
            value = getattr(self, name)
            if value is not None and finite_number(value, name) < 0:
                raise InputError(f"{name} is {value}", expected="0 or more")
        if (self.input_price is None) != (self.output_price is None):
            raise InputError("one price without the other", expected="those of input and output")
        if self.max_cost is not None and self.input_price is None:
            raise InputError(
                f"a limit of {self.max_cost:g} on the cost, without prices",
                expected="the prices of a million tokens",
                next_step="give them with --input-price and --output-price",
            )

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None without prices."""
        if self.input_price is None or self.output_price is None:
            return None
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6

    def passed(self, prompt_tokens: int, completion_tokens: int) -> str | None:
        """Which limit so many tokens are beyond, in words."""
        total = prompt_tokens + completion_tokens
        if self.max_tokens is not None and total > self.max_tokens:
            return f"the limit of {self.max_tokens:,} tokens"
        cost = self.cost(prompt_tokens, completion_tokens)
        if self.max_cost is not None and cost is not None and cost > self.max_cost:
            return f"the limit of {self.max_cost:g} on the cost"
        return None


class Answers:
    """The answers in a file, which is made with the first.

    Attributes:
        prompt_tokens, completion_tokens: of all lines, those of former runs included.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prompt_tokens = self.completion_tokens = 0
        self._tries: dict[str, list[str | None]] = defaultdict(list)
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        if path.exists():
            with reading(path, "move it away"):
                for line in path.read_bytes().split(b"\n"):
                    self._take(_record(line))

    def _take(self, record: dict[str, Any] | None) -> None:
        if record is None:
            return
        self.prompt_tokens += record["prompt_tokens"]
        self.completion_tokens += record["completion_tokens"]
        if record["answer"] is not None:
            self._tries[record["question"]].append(record["label"])

    def label(self, question: str) -> str | None:
        """The label that a question was answered with: "" for an unclear one, or after as many
        malformed answers as are allowed; None while it is to be asked."""
        tries = self._tries.get(question, [])
        found = next((label for label in tries if label is not None), None)
        return "" if found is None and len(tries) >= MOST_TRIES else found

    def num_malformed(self, question: str) -> int:
        """How many answers to a question were malformed."""
        return sum(label is None for label in self._tries.get(question, []))

    def add(self, feature: int, question: str, reply: Reply, label: str | None) -> None:
        """Keeps an answer, on disk before anything else is done with it."""
        self._write(feature, question, reply.text, label, reply)

    def add_failure(self, feature: int, question: str, tokens: int) -> None:
        """Keeps what a try without an answer may have cost."""
        self._write(feature, question, None, None, Reply("", tokens, 0))

    def _write(
        self, feature: int, question: str, answer: str | None, label: str | None, cost: Reply
    ) -> None:
        record = {
            "feature": feature,
            "question": question,
            "answer": answer,
            "label": label,
            "prompt_tokens": cost.prompt_tokens,
            "completion_tokens": cost.completion_tokens,
        }
        with self._lock, disk_errors(self.path):
            if self._file is None:
                self._file = self._opened()
            self._file.write(json.dumps(record).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._take(record)

    def _opened(self) -> IO[bytes]:
        """The file to add to; a line that a kill cut short is ended first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        file = open(self.path, "ab")  # noqa: SIM115 (closed by `close`)
        file.write(b"\n" if cut else b"")
        return file

    def close(self) -> None:
        """Closes the file; a later answer opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def question_hash(model: str, messages: Messages) -> str:
    """What an answer is known by: the same question to the same model is not asked twice."""
    text = json.dumps([model, list(messages)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def parse(text: str) -> str | None:
    """The label in an answer, "" for unclear; None where it is malformed: anything but one JSON
    object with the one text "label", of at most six words on one line. What a model has thought
    aloud before it, up to </think>, is passed over."""
    try:
        found = json.loads(text.rpartition("</think>")[2])
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"label"}:
        return None
    label = found["label"]
    if not isinstance(label, str) or not any(c.isalnum() for c in label):
        return None
    label = label.strip()
    if len(label.split()) > MOST_WORDS or len(label) > MOST_CHARACTERS or not label.isprintable():
        return None
    return "" if label.strip(".").lower() == UNCLEAR else label


_FIELDS = {"feature": int, "question": str, "prompt_tokens": int, "completion_tokens": int}


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line says; None for one that was cut short, or is nothing of ours."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not {*_FIELDS, "answer", "label"} <= found.keys():
        return None
    whole_ones = all(type(found[name]) is kind for name, kind in _FIELDS.items())
    texts = all(isinstance(found[name], str | None) for name in ("answer", "label"))
    return found if whole_ones and texts else None
