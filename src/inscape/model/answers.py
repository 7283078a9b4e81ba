"""Answers, judged whole.

1. An answer's tokens are those that it has behind its prompt: both are tokenised together. Where
   the prompt's end and the answer would merge into other tokens, a note says so.
2. Its log-probability is the sum over its tokens, each given all before it (teacher forcing): one
   pass for many answers. It is answered when the greedy continuation begins with it, and goes on
   with no further digit where it ends in one (" 96" is not answered by " 960").
3. Candidates are compared at their first token that differs, with what they share fed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from inscape.core import InputError
from inscape.model.prompt import Prompt
from inscape.model.text import TextCodec

ROWS, TOKENS = 64, 8192  # of one pass


@dataclass(frozen=True)
class Answer:
    """A text as the continuation of one prompt, with what should be known of its tokens."""

    text: str
    ids: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Judged:
    """What a model makes of an answer: its log-probability (nats), and whether it says it."""

    log_probability: float
    answered: bool


@dataclass(frozen=True)
class Split:
    """Where candidates part: the prompt with what they share fed in, and each one's next token."""

    prompt: Prompt
    tokens: tuple[int, ...]
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]


def make_answer(codec: TextCodec, prompt: Prompt, text: str) -> Answer:
    """See `Model.answer`."""
    apart = tuple(codec.following(text))
    alone, whole = codec.plain(prompt.text), codec.plain(prompt.text + text)
    if tuple(alone) != prompt.ids[len(prompt) - len(alone) :]:  # ids that no text gives
        return Answer(text, apart, ())
    if whole[: len(alone)] == alone:
        return Answer(text, tuple(whole[len(alone) :]), _boundary(prompt.text, text))
    if prompt.text[-1:] == " ":
        note = (
            f"the prompt ends in a space, which a model says as part of {' ' + text.lstrip()!r}: "
            "leave it out of the prompt and begin the answer with it"
        )
    else:
        note = (
            f"the end of the prompt and {text!r} are other tokens when they are one text: a model "
            "that was trained on such text will hardly say it in these"
        )
    return Answer(text, apart, (note,))


def _boundary(before: str, text: str) -> tuple[str, ...]:
    """What is odd where a prompt ends and its answer begins."""
    last, first = before.split()[-1:], text.split()[:1]
    if before[-1:].isalnum() and text[0].isalnum() and not text.startswith(last[0]):
        return (
            f"the prompt ends in {last[0]!r} and the answer begins without a space: they read "
            f"{last[0] + text!r}; write {' ' + text!r} if that is not meant",
        )
    again = last == first or (text[0].isalnum() and text.startswith(last[0] if last else text))
    if before[-1:].isalnum() and again:
        return (f"the answer {text!r} begins with {last[0]!r}, with which the prompt ends",)
    return ()


def split(
    codec: TextCodec, prompt: Prompt, answers: Sequence[Answer], *, role: str | None
) -> Split:
    """See `Model.first_difference`."""
    if not answers:
        raise InputError("no candidate was given", expected="one or more answers")
    texts = [answer.text for answer in answers]
    for answer in answers:
        if codec.lacks(answer.ids, answer.text):
            raise InputError(
                f"the tokenizer has no token for {answer.text!r}",
                expected="an answer that this model can say",
            )
    same = next((text for text in texts if texts.count(text) > 1), None)
    if same is not None:
        raise InputError(f"{same!r} is given twice", expected="candidates that differ")
    shared = _shared([answer.ids for answer in answers])
    if len(answers) == 1:  # the first token that is more than space
        (answer,) = answers
        blank = [not text.strip() for text in codec.texts(answer.ids)]
        shared = answer.ids[: blank.index(False) if False in blank else 0]
    ended = next((a for a in answers if len(a) == len(shared)), None)
    if ended is not None:
        longer = next(a for a in answers if a is not ended)
        raise InputError(
            f"{longer.text!r} begins with {ended.text!r}: no token tells them apart",
            expected="candidates of which none begins with another",
            next_step="let the shorter one go on until it differs, or score both answers whole",
        )
    notes = [note for answer in answers for note in answer.notes]
    if shared:
        said = "".join(codec.texts(shared))
        notes.append(
            f"{said!r}, with which {' and '.join(map(repr, texts))} begin{'s' * (len(texts) == 1)},"
            " was fed in behind the prompt"
        )
    tokens = tuple(answer.ids[len(shared)] for answer in answers)
    used = "the target" if len(answers) == 1 else "compared"
    for answer, said in zip(answers, codec.texts(tokens), strict=True):
        if len(answer) > len(shared) + 1:
            notes.append(f"of {answer.text!r} the token {said!r} is {used}")
    return Split(
        extended(codec, prompt, shared, role), tokens, tuple(answers), tuple(dict.fromkeys(notes))
    )


def _shared(rows: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The ids with which all rows begin."""
    count = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return rows[0][:count]


def extended(codec: TextCodec, prompt: Prompt, ids: tuple[int, ...], role: str | None) -> Prompt:
    """The prompt with some tokens more, which are of `role`."""
    if not ids:
        return prompt
    more = torch.tensor([ids], device=prompt.tokens.device)
    if codec.has_tokenizer and not codec.special_ids.intersection(ids):
        more_text = codec.continuation((*prompt.ids, *ids), len(prompt))
    else:
        more_text = "".join(codec.texts(ids))
    return replace(
        prompt,
        ids=prompt.ids + ids,
        text=prompt.text + more_text,
        texts=(*prompt.texts, *codec.texts(ids)),
        roles=(*prompt.roles, *len(ids) * [role]),
        words=(*prompt.words, *(i not in codec.special_ids for i in ids)),
        tokens=torch.cat([prompt.tokens, more], 1),
    )


def batched(pairs: Sequence[tuple[Prompt, Answer]]) -> list[list[int]]:
    """The pairs of each pass, of similar length."""
    length = [len(prompt) + len(answer) for prompt, answer in pairs]
    batches: list[list[int]] = []
    for i in sorted(range(len(pairs)), key=length.__getitem__):  # the longest of a batch is last
        last = batches[-1] if batches else []
        if last and len(last) < ROWS and (len(last) + 1) * length[i] <= TOKENS:
            last.append(i)
        else:
            batches.append([i])
    return batches
