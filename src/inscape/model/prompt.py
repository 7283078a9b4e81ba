"""A prompt as the model receives it: text, chat messages or token ids, with an image or without.

1. Messages go through the tokenizer's own chat template. Rendering it once more with a mark in
   place of each message's text shows where the texts lie: all else belongs to the template.
2. Text begins with BOS where the rule of the model (or of the prompt) adds one; a template and
   given ids stand as they are.
3. Which positions count: no special token, nothing of a template but its last token (there the
   answer is computed), no attention sink. A sink is a token whose norm at any of some residual
   sites is above SINK_FACTOR times the median there: medians that a harvest stored, else those of
   the text's own tokens (Sun et al. 2024, "Massive activations in large language models").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral
from typing import Any, TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError
from inscape.model.images import ImageCodec
from inscape.model.inputs import Inputs
from inscape.model.text import TextCodec

Messages = Sequence[Mapping[str, str]]
Source: TypeAlias = "str | Messages | Sequence[int] | Tensor | Prompt"
T = TypeVar("T")
SINK_FACTOR = 10.0
_EXPECTED = "text, chat messages, or a list of token ids"


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt of one model, immutable.

    ids [pos]: the tokens that the model reads, BOS and image patches included. text: what was
    tokenised (of chat messages: the template's rendering), without an added BOS. texts [pos]: each
    token as text. roles [pos]: whose message the token is of; None in a template's own tokens and
    where there are no messages. words [pos]: not special, not of a template. tokens: `ids` as
    [1, pos] on the model's device.
    """

    ids: tuple[int, ...]
    text: str
    texts: tuple[str, ...]
    roles: tuple[str | None, ...]
    words: tuple[bool, ...]
    tokens: Int[Tensor, "1 pos"] = field(repr=False)
    pixels: Float[Tensor, "1 3 height width"] | None = field(default=None, repr=False)
    measure: Callable[[Inputs, Tensor], Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def counted(self) -> Bool[Tensor, " pos"]:
        """Which positions count: words of the prompt that are no attention sinks.

        Measured when first asked for, by one pass of the model.
        """
        words = torch.tensor([self.words], device=self.tokens.device)
        read = Inputs(self.tokens, self.pixels)
        return (words if self.measure is None else self.measure(read, words))[0]

    @property
    def inputs(self) -> Inputs:
        """What the model reads: tokens, picture, and the positions that count."""
        return self.repeated(1)

    def first(self, length: int) -> Inputs:
        """Its first tokens, `length` of them; all where there is a picture among them."""
        if length >= len(self) or self.pixels is not None:
            return self.inputs
        return Inputs(self.tokens[:, :length], None, lambda: self.counted[None, :length])

    def repeated(self, count: int) -> Inputs:
        """The prompt in `count` rows, to be continued in each."""
        pixels = None if self.pixels is None else self.pixels.repeat(count, 1, 1, 1)
        tokens = self.tokens.expand(count, -1)
        return Inputs(tokens, pixels, lambda: self.counted.expand(count, -1))


def make_prompt(
    codec: TextCodec, images: ImageCodec | None, source: Any, pixels: Tensor | None, bos: str | None
) -> Prompt:
    """See `Model.prompt`; neither measured nor held against the model's vocabulary and context."""
    draft = drafted(codec, source)
    ids = codec.begin(draft.ids, bos or (None if isinstance(source, str) else "never"))
    if not ids:
        raise InputError("the prompt is empty", expected="some text")
    roles = [*(len(ids) - len(draft.roles)) * [None], *draft.roles]
    special = codec.special_ids
    if images is not None and pixels is not None:
        opening = int(ids[0] in special)
        first = next((i for i, role in enumerate(roles) if role == "user"), opening)
        ids = images.place(ids, first)
        at = ids.index(images.image_id)
        inside = roles[at] if at < len(roles) else None
        roles = [*roles[:at], *(len(ids) - len(roles)) * [inside], *roles[at:]]
        special -= {images.image_id}
    return Prompt(
        ids=tuple(ids),
        text=draft.text,
        texts=tuple(codec.texts(ids)),
        roles=tuple(roles),
        words=tuple(
            i not in special and (role is not None or not draft.is_chat or at == len(ids) - 1)
            for at, (i, role) in enumerate(zip(ids, roles, strict=True))
        ),
        tokens=torch.tensor([ids]),
        pixels=pixels,
    )


@dataclass(frozen=True)
class Draft:
    """A prompt's tokens before BOS and pictures have their places."""

    ids: list[int]
    text: str
    roles: list[str | None]
    is_chat: bool = False


def drafted(codec: TextCodec, source: Any) -> Draft:
    """The tokens of a text, of chat messages or of given ids.

    Raises:
        InputError: it is none of these, or the tokenizer has no chat template, or the template
            takes no such messages.
    """
    if isinstance(source, str):
        ids = codec.plain(source)
        return Draft(ids, source, [None] * len(ids))
    if isinstance(source, Tensor):
        source = (source[0] if source.ndim == 2 and len(source) == 1 else source).tolist()
    if isinstance(source, bytes | Mapping) or not isinstance(source, Iterable):
        raise InputError(f"a prompt of {type(source).__name__}", expected=_EXPECTED)
    items = list(source)
    if items and all(isinstance(item, Mapping) for item in items):
        return _chat(codec, items)
    odd = [item for item in items if isinstance(item, bool) or not isinstance(item, Integral)]
    if odd:
        raise InputError(f"a prompt of {type(odd[0]).__name__}s", expected=_EXPECTED)
    ids = codec.checked(items)
    return Draft(ids, codec.whole(ids), [None] * len(ids))


def _chat(codec: TextCodec, messages: list[Mapping[str, Any]]) -> Draft:
    for message in messages:
        if not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise InputError(
                f"the message {dict(message)!r}",
                expected='{"role": "user", "content": "..."}, both of them text',
            )
    text = rendered(codec.tokenizer, messages)
    encoded = codec.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    codec.plain(text)  # refuses what is no text
    ids = [int(i) for i in encoded["input_ids"]]
    roles: list[str | None] = [None] * len(ids)
    for (start, end), message in zip(
        _spans(codec.tokenizer, text, messages), messages, strict=True
    ):
        for i, (a, b) in enumerate(encoded["offset_mapping"]):
            if max(a, start) < min(b, end):
                roles[i] = message["role"]
    return Draft(ids, text, roles, is_chat=True)


def rendered(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """Messages in the tokenizer's chat template, up to where the model answers.

    A last message of the assistant is one that the model goes on with.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "this model's tokenizer has no chat template",
            expected="one, for messages",
            next_step="give the prompt as plain text, or open the instruct model",
        )
    begun = messages[-1]["role"] == "assistant"
    try:
        text: str = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            tokenize=False,
            add_generation_prompt=not begun,
            continue_final_message=begun,
        )
    except Exception as error:  # a template raises whatever its author chose
        raise InputError(
            f"the chat template of this model refuses the messages ({error})",
            expected="roles and an order that it knows, such as user, assistant, user",
        ) from error
    return text


def _spans(tokenizer: Any, text: str, messages: list[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Where each message's own text lies in the rendered `text`; (0, 0) where it is not found."""
    marks = [f"\ue000{i}\ue001" for i in range(len(messages))]
    marked = [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]
    try:
        rest = rendered(tokenizer, marked)
    except InputError:
        rest = ""
    at, found = 0, []
    for message, mark in zip(messages, marks, strict=True):
        before, here, rest = rest.partition(mark)
        content = message["content"].strip()
        start = text.find(content, at + len(before) if here else at)
        found.append((0, 0) if start < 0 else (start, start + len(content)))
        at = at if start < 0 else start + len(content)
    return found


def counterparts(one: Sequence[T], two: Sequence[T]) -> dict[int, int]:
    """Which token of `two` stands for each token of `one`, by position: the last for the last, what
    both begin and end with, and of what lies between, the last ones; the first tokens of the longer
    one have no counterpart."""
    short = min(len(one), len(two))
    begin = next((n for n in range(short) if one[n] != two[n]), short - 1)
    shift, after = len(two) - len(one), len(one) - (short - begin)
    return {n: n for n in range(begin)} | {n: n + shift for n in range(after, len(one))}


def find_sinks(
    norms: Mapping[str, Float[Tensor, "*tokens"]], medians: Mapping[str, float | Tensor]
) -> Bool[Tensor, "*tokens"]:
    """Tokens whose norm at any site is above SINK_FACTOR times that site's median."""
    sites = [site for site in norms if site in medians]
    found = [(norms[s] > SINK_FACTOR * medians[s]) & torch.as_tensor(medians[s] > 0) for s in sites]
    return torch.stack(found).any(0)


def medians(
    norms: Mapping[str, Float[Tensor, "batch pos"]], words: Bool[Tensor, "batch pos"]
) -> dict[str, Float[Tensor, "batch 1"]]:
    """The median norm of each row's words, by site; 0 for a row without any."""
    return {
        site: values.masked_fill(~words, torch.nan).nanmedian(1, True)[0].nan_to_num()
        for site, values in norms.items()
    }
