"""The text side of a model: tokens, prompts, answers, and which positions count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError
from inscape.model.answers import Answer, Judged, Split, batched, extended, make_answer, split
from inscape.model.forward import Edit
from inscape.model.images import ImageCodec
from inscape.model.inputs import Inputs, Run
from inscape.model.prompt import Messages, Prompt, Source, drafted, find_sinks, make_prompt, medians
from inscape.model.text import TextCodec


class Language(ABC):
    """What a model reads and says. `Model` is one; it adds sites and weights."""

    name: str
    _text: TextCodec
    _images: ImageCodec | None
    num_layers: int
    vocab_size: int
    sink_medians: Mapping[str, float] = {}

    run: Callable[..., Run]
    unembed: Callable[[Tensor], Tensor]
    checked: Callable[[Tensor | Inputs | Prompt], Inputs]

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where token ids go."""

    @property
    def tokenizer(self) -> Any:
        """The Hugging Face tokenizer, or None."""
        return self._text.tokenizer if self._text.has_tokenizer else None

    @property
    def bos(self) -> str:
        """The rule for the beginning of a text: "auto", "always", "never" or a special token."""
        return self._text.bos

    @property
    def bos_id(self) -> int | None:
        """The beginning-of-text token that the rule puts before a text, or None."""
        return self._text.bos_id

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no text (BOS, end-of-text, roles of a chat): they never count."""
        return self._text.special_ids - {self.image_id}

    @cached_property
    def vocabulary_mask(self) -> Bool[Tensor, " vocab"]:
        """Which token ids [vocab] the tokenizer has, on the CPU: a head is often wider, padded to
        a round number. All of them without a tokenizer."""
        mask = torch.full((self.vocab_size,), not self._text.has_tokenizer)
        if self._text.has_tokenizer:
            ids = torch.tensor(list(self._text.tokenizer.get_vocab().values()))
            mask[ids[ids < self.vocab_size]] = True
        return mask

    def encode(self, text: str, bos: str | None = None) -> list[int]:
        """The token ids of `text`, after one BOS where the model's rule, or `bos`, adds it."""
        return self._text.encode(text, bos)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """The text of `ids` [pos], without special tokens."""
        return self._text.decode(ids)

    def continuation(self, ids: Sequence[int] | Tensor, start: int) -> str:
        """The text that the tokens from `start` on add to those before, without special tokens;
        numbers for a model without a tokenizer."""
        return self._text.continuation(ids, start)

    def token_text(self, id: int) -> str:
        """One token as text, its leading space kept."""
        return self._text.texts([id])[0]

    def answer(self, prompt: Source, text: str) -> Answer:
        """`text` as the continuation of a prompt: the tokens that it has there, and notes on what
        is odd (the prompt ends in a space, a space is missing, other tokens in one text)."""
        return make_answer(self._text, self.prompt(prompt), text)

    def score(
        self, prompt: Source, answer: str | Answer, *, edits: Mapping[Any, Edit] | None = None
    ) -> float:
        """The log-probability, in nats, of a whole answer to a prompt."""
        return self.judge([(prompt, answer)], edits=edits)[0].log_probability

    def answers(
        self, prompt: Source, answer: str | Answer, *, edits: Mapping[Any, Edit] | None = None
    ) -> bool:
        """Whether the greedy continuation of a prompt begins with an answer; an answer that ends
        in a digit must not go on with another."""
        return self.judge([(prompt, answer)], edits=edits)[0].answered

    def judge(
        self,
        pairs: Sequence[tuple[Source, str | Answer]],
        *,
        edits: Mapping[Any, Edit] | None = None,
    ) -> list[Judged]:
        """Log-probability, and whether it is answered, of many answers to their prompts."""
        made = []
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InputError(f"{pair!r} to be judged", expected="a pair of prompt and answer")
            source, answer = pair
            given = self.prompt(source)
            made.append(
                (given, answer if isinstance(answer, Answer) else self.answer(given, answer))
            )
        found: dict[int, Judged] = {}
        for rows in batched(made):
            found |= zip(rows, self._judged([made[i] for i in rows], edits), strict=True)
        return [found[i] for i in range(len(made))]

    @torch.no_grad()
    def _judged(
        self, pairs: Sequence[tuple[Prompt, Answer]], edits: Mapping[Any, Edit] | None
    ) -> list[Judged]:
        rows = [torch.tensor([*prompt.ids, *answer.ids]) for prompt, answer in pairs]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(self.device)
        pixels = [prompt.pixels for prompt, _ in pairs if prompt.pixels is not None]
        counted = None
        if edits:
            counted = self.is_word(tokens)
            for row, (prompt, _) in zip(counted, pairs, strict=True):
                row[: len(prompt)] = prompt.counted
        given = Inputs(tokens, torch.cat(pixels) if pixels else None, counted)
        final = self.run(given, read=["final"], edits=edits)["final"]
        judged = []
        for row, (prompt, answer) in zip(final, pairs, strict=True):
            # One position more than the answer has tokens: what would be said after it.
            logits = self.unembed(row[len(prompt) - 1 : len(prompt) + len(answer)])
            ids = torch.tensor(answer.ids, device=logits.device)
            logs = torch.log_softmax(logits[:-1], -1).gather(-1, ids[:, None])
            greedy = logits.argmax(-1).tolist()
            more = answer.text[-1].isdigit() and self.token_text(greedy[-1])[:1].isdigit()
            judged.append(Judged(float(logs.sum()), greedy[:-1] == [*answer.ids] and not more))
        return judged

    def extended(self, prompt: Source, ids: Sequence[int]) -> Prompt:
        """A prompt with some tokens of its answer more, in a chat the assistant's."""
        given = self.prompt(prompt)
        role = "assistant" if any(given.roles) else None
        return extended(self._text, given, tuple(ids), role)

    def first_difference(self, prompt: Source, candidates: Sequence[str]) -> Split:
        """The first token by which candidates differ, with what they share fed in behind the
        prompt; of a single candidate its first token that is more than space.

        Raises:
            InputError: equal candidates, or one that begins with another.
        """
        if isinstance(candidates, str) or not isinstance(candidates, Iterable):
            raise InputError(f"the candidates {candidates!r}", expected="a list of answers")
        given = self.prompt(prompt)
        role = "assistant" if any(given.roles) else None
        made = [make_answer(self._text, given, text) for text in candidates]
        return split(self._text, given, made, role=role)

    def answer_token(self, text: str) -> tuple[int, bool]:
        """The first token of `text` as a continuation, and whether more follow."""
        ids = self._text.following(text)
        return ids[0], len(ids) > 1

    def prompt(self, source: Source, image: Any = None, bos: str | None = None) -> Prompt:
        """What this model reads for a text, chat messages, token ids or a prompt (as it is).

        Args:
            source: text; messages [{"role": "user", "content": "..."}], which go through the
                tokenizer's chat template; or token ids.
            image: uint8 RGB [height, width, 3]. It goes where the text has the image token, else
                before the first message of the user, or between BOS and the text.
            bos: "auto", "always", "never" or a special token in place of the model's rule. Template
                and ids have one put in front by "always" or a named token alone.

        Raises:
            InputError: there are no tokens, more than the model's context, or ids out of range;
                messages without a chat template; a picture that the model cannot read.
        """
        if isinstance(source, Prompt):
            return source
        pixels = None if image is None else self.pixels(image)
        made = make_prompt(self._text, self._images, source, pixels, bos)
        given = self.checked(Inputs(made.tokens, pixels))
        return replace(made, tokens=given.tokens, measure=self.counted)

    def chat_tokens(self, messages: Messages) -> tuple[list[int], list[bool]]:
        """The token ids of chat messages of any length in the tokenizer's template, and which of
        them are words.

        Raises:
            InputError: the tokenizer has no template, or it takes no such messages.
        """
        draft, special = drafted(self._text, messages), self.special_ids
        parts = zip(draft.ids, draft.roles, strict=True)
        return draft.ids, [role is not None and i not in special for i, role in parts]

    def counted(
        self, tokens: Tensor | Inputs, words: Bool[Tensor, "batch pos"] | None = None
    ) -> Bool[Tensor, "batch pos"]:
        """Which positions of `tokens` [batch, pos] count: among `words` (None: all; pass False for
        padding on the right), no special token and no attention sink (see inscape.model.prompt).

        One forward pass. Norms are held against `sink_medians` (site -> median norm that a harvest
        stored) where it names sites of the residual stream, else against the row's own median.
        """
        given = self.checked(tokens)
        mask = self.is_word(given.tokens)
        mask = mask if words is None else mask & words.to(self.device)
        stored = {s: m for s, m in self.sink_medians.items() if s.startswith("resid_")}
        norms: dict[str, Tensor] = {}

        def record(site: str, x: Tensor) -> Tensor:  # taken where they lie, nothing is kept
            norms[site] = x.float().norm(dim=-1).cpu()
            return x

        sites = stored or {f"resid_post.{i}": 0 for i in range(max(self.num_layers - 1, 1))}
        self.run(given, edits={site: partial(record, site) for site in sites})
        return mask & ~find_sinks(norms, stored or medians(norms, mask.cpu())).to(self.device)

    def is_word(self, tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
        """Which tokens [batch, pos], on the model's device, are no special ones."""
        return ~torch.isin(tokens, self._special)

    @cached_property
    def _special(self) -> Tensor:
        return torch.tensor(sorted(self.special_ids), dtype=torch.long, device=self.device)

    @property
    def image_id(self) -> int | None:
        """The token that stands for one patch of a picture, or None."""
        return None if self._images is None else self._images.image_id

    def pixels(self, images: Any) -> Float[Tensor, "picture 3 height width"]:
        """Pictures, uint8 RGB [height, width, 3] or [n, height, width, 3], as this model takes
        them, on its device."""
        if self._images is None:
            raise InputError(f"{self.name} reads no pictures", expected="an image-text model")
        return self._images.pixels(images).to(self.device)
