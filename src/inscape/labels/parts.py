"""What a stopped run has finished, kept until all is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from inscape.labels.store import Label, as_table, from_table
from inscape.storage import atomic_file, read_json, write_json


class Parts:
    """Labels that are finished, in a hidden folder beside those that are being made."""

    def __init__(self, out: Path, inputs: dict[str, Any]) -> None:
        self.folder = out.parent / f".{out.name}.parts"
        record = self.folder / "inputs.json"
        if record.is_file() and read_json(record) != inputs:
            self.remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(record, inputs)

    def read(self, start: int) -> list[Label] | None:
        """The labels of the part that begins at a feature, where it is finished."""
        path = self.folder / f"{start}.parquet"
        return from_table(pq.read_table(path)) if path.is_file() else None

    def write(self, start: int, labels: list[Label]) -> None:
        """Keeps a part."""
        with atomic_file(self.folder / f"{start}.parquet") as file:
            pq.write_table(as_table(labels), file)

    def remove(self) -> None:
        """Everything is finished, or was made from something else."""
        shutil.rmtree(self.folder)
