"""Text to tokens and back, with one rule for the beginning-of-text token (BOS)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from itertools import accumulate, groupby
from typing import Any, TypeAlias

from torch import Tensor

from inscape.core import AS_BYTES, InputError, ModelError, whole

Ids: TypeAlias = "Sequence[int] | Tensor"
BOS_RULES = ("auto", "always", "never")

# Characters after which a tokenizer is asked how a text goes on; the first that does not
# merge with the text is taken.
_ANCHORS = (",", "\n", "a", "1", ")")


class TextCodec:
    """A tokenizer with one rule for BOS.

    `bos="auto"` adds BOS where the tokenizer itself does (llama's does; SmolLM2's, whose "BOS"
    opens a turn of a chat, and GPT-2's do not), "always" and "never" say it; a special token, such
    as "<|endoftext|>", is put there in its place, as documents of the training were begun with. A
    text that already begins with BOS gets no second one. Nothing else is added: no end-of-text.

    Args:
        tokenizer: a Hugging Face tokenizer, or None for a model that only takes token ids.
        config: the model's, for the special ids where there is no tokenizer; ids then stand as
            they are unless `bos` is "always".
        vocab_size: the number of ids that the model has, its padding included.
    """

    def __init__(self, tokenizer: Any, config: Any, bos: str, vocab_size: int) -> None:
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        of = config if tokenizer is None else tokenizer
        self._begin: int | None = of.bos_token_id if isinstance(of.bos_token_id, int) else None
        self.special_ids = frozenset(_special(tokenizer, config))
        self.bos = bos
        self.bos_id = self.front(bos)
        if self.bos_id is not None:  # SmolLM2's <|endoftext|> stands for unknown text as well
            self.special_ids |= {self.bos_id}

    def front(self, bos: str | None) -> int | None:
        """The BOS that this rule (None: the model's own) puts before a text, or None.

        Raises:
            InputError: it is no rule, or "always" where there is no BOS.
        """
        if bos is None:
            return self.bos_id
        if bos not in BOS_RULES:
            return self._special_id(bos)
        if bos == "always" and self._begin is None:
            raise InputError("bos='always', but this tokenizer has no beginning-of-text token")
        adds = bos == "always" or (bos == "auto" and self._adds)
        return self._begin if adds else None

    def _special_id(self, text: str) -> int:
        """The id of a special token that is named as the rule."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        found = next(
            (i for i, token in added.items() if token.special and str(token) == text), None
        )
        if found is None:
            rules = ", ".join(map(repr, BOS_RULES))
            raise InputError(
                f"bos is {text!r}",
                expected=f"{rules}, or a special token of the model",
                next_step="a tokenizer's special tokens are in its tokenizer.json",
            )
        return int(found)

    @cached_property
    def _adds(self) -> bool:
        tokenizer = self._tokenizer
        return tokenizer is not None and tokenizer.encode("a")[:1] == [self._begin]

    @property
    def has_tokenizer(self) -> bool:
        """Whether text can be read and written."""
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer; ModelError if there is none."""
        if self._tokenizer is None:
            raise ModelError(
                "this model was wrapped without a tokenizer",
                expected="one for anything that reads or writes text",
                next_step="pass it to Model.wrap, or work with token ids",
            )
        return self._tokenizer

    def encode(self, text: str, bos: str | None = None) -> list[int]:
        """The token ids of `text`, after one BOS where the rule adds one."""
        return self.begin(self.plain(text), bos)

    def begin(self, ids: list[int], bos: str | None = None) -> list[int]:
        """`ids`, after one BOS where the rule adds one and they do not begin with it."""
        front, rule = self.front(bos), self.bos if bos is None else bos
        known = [front] if rule in BOS_RULES else self.special_ids
        return ids if front is None or (ids and ids[0] in known) else [front, *ids]

    def checked(self, ids: Any) -> list[int]:
        """Token ids [pos] as numbers; InputError where they are none of this model's."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(ids, Iterable) or isinstance(ids, str | bytes | Mapping):
            raise InputError(f"token ids of type {type(ids).__name__}", expected="a list of ids")
        return [whole(i, "token id", 0, self._vocab_size - 1) for i in ids]

    def decode(self, ids: Ids, *, special: bool = False) -> str:
        """The text of `ids`, with or without BOS and other special tokens."""
        text: str = self.tokenizer.decode(
            self.checked(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
        )
        return text

    def whole(self, ids: Sequence[int]) -> str:
        """The text of `ids` with special tokens; numbers where there is no tokenizer."""
        if not self.has_tokenizer:
            return " ".join(self.texts(ids))
        return self.decode(ids, special=True)

    def continuation(self, ids: Ids, start: int) -> str:
        """The text that `ids` from `start` on add to those before: decoded alone, a first token of
        sentencepiece would lose its space, and half a character its other half."""
        ids = self.checked(ids)
        if not self.has_tokenizer:
            return " ".join(self.texts(ids[start:]))
        before = self.decode(ids[:start]).rstrip("\ufffd")
        whole = self.decode(ids)
        return whole[len(before) :] if whole.startswith(before) else self.decode(ids[start:])

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Each token as text; tokens that make up one character together all show it.

        A model without a tokenizer shows numbers.
        """
        ids = self.checked(ids)
        if self._tokenizer is None:
            return [f"<{i}>" for i in ids]
        found = [self._piece(i) for i in ids]
        pieces, raw = [text for text, _ in found], [part for _, part in found]
        for cut, run in groupby(range(len(ids)), key=lambda i: raw[i] is not None):
            places = list(run)
            shown = _characters([raw[i] or b"" for i in places]) if cut else None
            for i, text in zip(places, shown or (), strict=bool(shown)):
                pieces[i] = text
        return pieces

    def _piece(self, token: int) -> tuple[str, bytes | None]:
        """One token as text, its leading space kept; and its bytes, if it is a part of a character
        (written as <0xNN>)."""
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return f"<{token}>", None
        text: str = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        if piece.startswith("▁"):  # sentencepiece writes spaces so, and drops a first one
            bare = piece.lstrip("▁")
            return " " * (len(piece) - len(bare)) + (text.lstrip(" ") if bare else ""), None
        raw = _raw_bytes(piece) if "\ufffd" in text else None
        return text if raw is None else raw.decode(errors=AS_BYTES), raw

    def following(self, text: str) -> list[int]:
        """The tokens of `text` as the continuation of some other text; InputError for none."""
        alone = self.plain(text)
        if not text:
            raise InputError("the answer is empty", expected="the text that the model would say")
        for anchor in _ANCHORS:
            before, whole = self.plain(anchor), self.plain(anchor + text)
            if whole[: len(before)] == before and len(whole) > len(before):
                return whole[len(before) :]
        return alone

    def lacks(self, ids: Sequence[int], text: str) -> bool:
        """Whether a text was encoded with the token that stands for what is unknown."""
        unknown = None if self._tokenizer is None else self._tokenizer.unk_token_id
        return unknown in ids and self.tokenizer.unk_token not in text

    def plain(self, text: str) -> list[int]:
        """The token ids of `text` alone; InputError where it is no text that can be encoded."""
        if not isinstance(text, str):
            raise InputError(f"found {type(text).__name__} in place of text", expected="a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"character {error.start} of the text, {text[error.start]!r}, is no character",
                expected="text that is valid Unicode (UTF-8)",
                next_step="remove it, or check how the text was read",
            ) from error
        return [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]


def _special(tokenizer: Any, config: Any) -> set[int]:
    """Ids that stand for no text: BOS, end-of-text, padding, roles (unknown text is text)."""
    ends = config.eos_token_id
    ids = [config.bos_token_id, *(ends if isinstance(ends, list | tuple) else [ends])]
    if tokenizer is not None:
        added = getattr(tokenizer, "added_tokens_decoder", {})
        ids = [*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)]
        ids = [i for i in ids if i != tokenizer.unk_token_id or i == tokenizer.bos_token_id]
    return {i for i in ids if isinstance(i, int)}


def _characters(parts: list[bytes]) -> list[str] | None:
    """For each part of a text in bytes the characters that it takes part in; None where the
    bytes are not whole characters."""
    try:
        text = b"".join(parts).decode()
    except UnicodeDecodeError:
        return None
    owner = [i for i, c in enumerate(text) for _ in c.encode()]
    ends = list(accumulate(len(part) for part in parts))
    return [
        text[owner[end - len(part)] : owner[end - 1] + 1] if part else ""
        for part, end in zip(parts, ends, strict=True)
    ]


def _raw_bytes(piece: str) -> bytes | None:
    """The bytes of an incomplete piece; None if `piece` does not stand for bytes."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    table = _byte_alphabet()
    if not all(character in table for character in piece):
        return None
    return bytes(table[character] for character in piece)


@cache
def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE (Radford et al. 2019), back to bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + i): byte for i, byte in enumerate(others)
    }
