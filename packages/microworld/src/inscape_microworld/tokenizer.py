"""The microworld's tokenizer: byte-level BPE, digits one by one, any typed text encodes.

A space is put before the text, so that a word is the same token at the start and within; the
first digit of a number carries the space (" 4", "8"), which marks tens from ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from inscape_microworld.facts import TABLES, table

BOS = "<|begin|>"
PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Learn the merges on `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def as_transformers(tokenizer: Tokenizer) -> Any:
    """The tokenizer as transformers saves and loads it; adds BOS to every text."""
    import transformers
    from tokenizers.processors import TemplateProcessing

    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    wrap: Any = transformers.PreTrainedTokenizerFast
    return wrap(tokenizer_object=tokenizer, bos_token=BOS)


def table_words() -> list[str]:
    """Every cell of the fact tables, so that names and values become whole tokens."""
    tables = sorted(path.stem for path in TABLES.glob("*.csv"))
    cells = [cell for name in tables for row in table(name) for cell in row.values()]
    return [cell for cell in dict.fromkeys(cells) if cell]


def sample_texts(stream: Iterable[Any], count: int) -> list[str]:
    """The first texts of a stream of documents."""
    return [document.text for document in itertools.islice(stream, count)]
