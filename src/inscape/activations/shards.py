"""One shard on disk: a safetensors file whose arrays are memory-mapped.

    ids, document, row, position   int32 [tokens]
    flags                          uint8 [tokens]: 1 beginning of text, 2 attention sink
    <site>                         bf16 [tokens, width], one array for each site
    mean:<site>, m2:<site>         float64 [width]: statistics over the tokens without flags

The metadata holds the count and the norms that belong to the statistics, as JSON.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from inscape.core import StorageError

Mask = NDArray[np.bool_]
COLUMNS = ("ids", "document", "row", "position", "flags")
BOS = 1
SINK = 2
_DTYPES = {"BF16": np.uint16, "I32": np.int32, "U8": np.uint8, "F64": np.float64}


def shard_name(number: int) -> str:
    """shard-00000.safetensors, shard-00001.safetensors, ..."""
    return f"shard-{number:05d}.safetensors"


@dataclass(frozen=True)
class TokenTable:
    """One entry for every token of a store, in corpus order.

    Attributes:
        ids: token ids. document: number of the document in the corpus. row: number of the input
            sequence (windows must not cross rows). position: index in that row, as the model saw
            it. flags: 1 beginning of text, 2 attention sink, 0 ordinary.
    """

    ids: NDArray[np.int32]
    document: NDArray[np.int32]
    row: NDArray[np.int32]
    position: NDArray[np.int32]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_bos(self) -> Mask:
        """Beginning-of-text tokens."""
        return np.asarray(self.flags & BOS, np.bool_)

    @property
    def is_sink(self) -> Mask:
        """Other tokens of massive norm."""
        return np.asarray(self.flags & SINK, np.bool_)

    @property
    def kept(self) -> Mask:
        """Tokens that count in statistics and training: those with neither flag."""
        return np.equal(self.flags, 0)


def flag_counts(flags: NDArray[np.uint8]) -> dict[str, int]:
    """How many tokens there are, and how many with each flag, by the names that manifests use."""
    num_bos, num_sinks = (int(np.count_nonzero(flags & flag)) for flag in (BOS, SINK))
    return {"num_tokens": len(flags), "num_bos": num_bos, "num_sinks": num_sinks}


class Shard:
    """A memory-mapped shard.

    Raises:
        StorageError: the file is missing, half-written or corrupt; it is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(length))
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            self._start = 8 + length
            self._entries: dict[str, Any] = header
            end = max(entry["data_offsets"][1] for entry in header.values())
            whole = path.stat().st_size == self._start + end
            self.num_tokens = int(header["ids"]["shape"][0])
        except FileNotFoundError as error:
            raise _broken(path, "is missing") from error
        except (ValueError, KeyError, TypeError, struct.error, MemoryError) as error:
            raise _broken(path, "is corrupt") from error
        if not whole:
            raise _broken(path, "is half-written")

    def map(self, name: str) -> NDArray[Any]:
        """One array, mapped read-only; bf16 comes as ml_dtypes.bfloat16."""
        try:
            entry = self._entries[name]
            dtype = _DTYPES[entry["dtype"]]
            offset = self._start + entry["data_offsets"][0]
            array = np.memmap(self.path, dtype, "r", offset, tuple(entry["shape"]))
        except (KeyError, ValueError, OSError) as error:
            raise _broken(self.path, f"has no readable {name!r}") from error
        if entry["dtype"] == "BF16":
            return array.view(ml_dtypes.bfloat16)
        return array


def _broken(path: Path, fault: str) -> StorageError:
    return StorageError(
        f"{path} {fault}", next_step="run the same harvest again: it makes the missing shards anew"
    )
