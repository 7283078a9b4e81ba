"""Tables that any reader of Parquet opens, small on disk.

1. Compressed by zstd: places in the text and columns in ascending order as differences, floats byte
   by byte (those that are rounded lose their last bytes altogether), bytes and strings by a
   dictionary of those that occur.
2. Every page carries a checksum, which is compared when the page is read: opening a table reads its
   footer alone, and damage is noticed where it is met.
3. Lists hold numbers, never strings, and have 64-bit offsets: readers put together chunks of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inscape.storage import reading

AGAIN = "remove its folder and run the command that makes it again"
_PLACES = ("row", "document", "position")
_MANTISSA = 11  # bits, as many as float16 has


def rounded(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """float32 with the mantissa of float16 (an error of 0.05 % at most), which compresses to half;
    the range stays that of float32."""
    drop = 24 - _MANTISSA
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    kept = (bits + np.uint32(1 << (drop - 1))) & np.uint32(~((1 << drop) - 1) & 0xFFFFFFFF)
    found: NDArray[np.float32] = np.where(np.isfinite(values), kept, bits).view(np.float32)
    return found


def lists(values: NDArray[Any]) -> pa.Array:
    """A matrix as a column of lists of equal length."""
    offsets = np.arange(len(values) + 1, dtype=np.int64) * values.shape[1]
    return ragged(values.ravel(), offsets)


def ragged(values: NDArray[Any], offsets: NDArray[np.int64]) -> pa.Array:
    """A column of lists, one after another in `values`."""
    return pa.LargeListArray.from_arrays(offsets, pa.array(values))


def write_table(
    path: Path, columns: Mapping[str, pa.Array], group: int, *, sorted_by: tuple[str, ...] = ()
) -> None:
    """A table in groups of `group` rows that are read together; sorted_by: columns that ascend, for
    which each group states its range."""
    table = pa.table(dict(columns))
    with table_writer(path, table.schema, sorted_by) as writer:
        writer.write_table(table, row_group_size=group)


@contextmanager
def table_writer(
    path: Path, schema: pa.Schema, sorted_by: tuple[str, ...] = ()
) -> Iterator[pq.ParquetWriter]:
    """A writer of such a table, to which parts are given."""
    encodings, words = {}, []
    for field in schema:
        of = field.type.value_type if pa.types.is_large_list(field.type) else field.type
        leaf = field.name if of is field.type else f"{field.name}.list.element"
        if pa.types.is_floating(of):
            encodings[leaf] = "BYTE_STREAM_SPLIT"
        elif field.name in (*sorted_by, *_PLACES):
            encodings[leaf] = "DELTA_BINARY_PACKED"
        elif not pa.types.is_boolean(of) and (pa.types.is_string(of) or of.bit_width == 8):
            words.append(leaf)
    writer = pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=9,
        use_dictionary=words,
        column_encoding=encodings,
        write_statistics=list(sorted_by),
        write_page_checksum=True,
    )
    with writer:
        yield writer


def opened_table(path: Path) -> pq.ParquetFile:
    """A table, of which only the footer is read.

    Raises:
        StorageError: it is missing or damaged.
    """
    with reading(path, AGAIN, OSError, pa.ArrowException):
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)


def first_group(table: pq.ParquetFile) -> int:
    """The number of rows in each group but the last; 0 of an empty table."""
    found = table.metadata
    return int(found.row_group(0).num_rows) if found.num_row_groups else 0
