"""Text to tokens and back, with exactly one beginning-of-text token (BOS)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from inscape.core import InputError, ModelError

# Characters after which a tokenizer is asked how a text goes on; the first that does not
# merge with the text is taken.
_ANCHORS = (",", "\n", "a", "1", ")")


class TextCodec:
    """A tokenizer with one rule for BOS.

    BOS is prepended whenever the tokenizer has one, whether or not it does so by itself
    (GPT-2's is <|endoftext|>), because the first position of most models is an attention
    sink and features are learnt with it; a text that already begins with it gets no second
    one. Nothing else is added: no end-of-text, no chat template.

    Args:
        tokenizer: a Hugging Face tokenizer, or None for a model that only takes token ids.
        bos_id: what to take for BOS where there is no tokenizer.
    """

    def __init__(self, tokenizer: Any, bos_id: int | None = None) -> None:
        self._tokenizer = tokenizer
        self.bos_id: int | None = bos_id if tokenizer is None else tokenizer.bos_token_id

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

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`, after one BOS if the tokenizer has one."""
        ids = self._plain(text)
        if self.bos_id is not None and ids[:1] != [self.bos_id]:
            ids = [self.bos_id, *ids]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without BOS and other special tokens."""
        text: str = self.tokenizer.decode(
            [int(i) for i in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def token_text(self, token: int) -> str:
        """One token as text: its leading space kept, bytes of a cut character as \\xNN."""
        piece = self.tokenizer.convert_ids_to_tokens(int(token))
        if piece is None:
            return f"<{token}>"
        text: str = self.tokenizer.decode([int(token)], clean_up_tokenization_spaces=False)
        if piece.startswith("▁"):  # sentencepiece writes spaces so, and drops a first one
            bare = piece.lstrip("▁")
            return " " * (len(piece) - len(bare)) + (text.lstrip(" ") if bare else "")
        if "\ufffd" in text:
            return _raw_bytes(piece) or text
        return text

    def answer_token(self, text: str) -> tuple[int, bool]:
        """The first token of `text` as the continuation of a prompt, and whether more follow.

        A leading space counts: " Paris" and "Paris" go on differently.
        """
        if not text:
            raise InputError("the answer is empty", expected="the text that the model would say")
        for anchor in _ANCHORS:
            before, whole = self._plain(anchor), self._plain(anchor + text)
            if whole[: len(before)] == before and len(whole) > len(before):
                return whole[len(before)], len(whole) > len(before) + 1
        ids = self._plain(text)
        return ids[0], len(ids) > 1

    def _plain(self, text: str) -> list[int]:
        return [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]


def _raw_bytes(piece: str) -> str | None:
    """The bytes of an incomplete piece, escaped; None if `piece` does not stand for bytes."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return f"\\x{piece[3:5].lower()}"
    table = _byte_alphabet()
    if not all(character in table for character in piece):
        return None
    raw = bytes(table[character] for character in piece)
    return raw.decode("utf-8", errors="backslashreplace")


@cache
def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE (Radford et al. 2019), back to bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + i): byte for i, byte in enumerate(others)
    }
