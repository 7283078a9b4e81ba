"""The log of a run: one JSON object per line, averages since the previous line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inscape.storage import disk_errors
from inscape.training.config import TrainConfig
from inscape.training.listeners import Listener
from inscape.training.trainer import StepMetrics, Trainer

LOG = "train.jsonl"


class TrainingLog:
    """Appends lines to a file that a resumed run truncates to its checkpoint.

    Args:
        path: the file, None if another process writes it. size: bytes to keep; the rest is
            truncated.

    Attributes:
        last: the last line written.

    Each line: step, tokens, loss, fvu, explained_variance (centred), l0, aux_loss, dead_share
    (features silent for dead_tokens; null while the run is shorter than that), lr,
    tokens_per_second; site_fvu, the FVU by site if there are several; held_out, if there was a
    held-out evaluation at that step.
    """

    def __init__(
        self, path: Path | None, size: int, config: TrainConfig, listeners: Sequence[Listener] = ()
    ) -> None:
        self.path = path
        self.listeners = listeners
        self.config = config
        self._pending: list[StepMetrics] = []
        self._since = time.monotonic()
        self.last: dict[str, Any] = {}
        if path is None:
            return
        with disk_errors(path):
            path.touch()
            with open(path, "r+b") as file:
                kept = file.read(size)  # shorter if a power cut lost its end
                kept = kept[: kept.rfind(b"\n") + 1]
                file.truncate(len(kept))
        with suppress(ValueError):
            self.last = json.loads(kept.splitlines()[-1]) if kept else {}

    def add(
        self, trainer: Trainer, metrics: StepMetrics, held_out: Mapping[str, float] | None = None
    ) -> None:
        """Record one step; a line is written every `log_every` steps, at the end, and after a
        held-out evaluation. Every process has to call this."""
        self._pending.append(metrics)
        step = trainer.num_steps
        if step % self.config.log_every and step != self.config.num_steps and held_out is None:
            return
        seconds = max(time.monotonic() - self._since, 1e-9)
        tokens = step * self.config.batch_size
        window = self.config.dead_window
        dead = trainer.num_dead() / trainer.shape.d_dict if tokens >= window else None
        self.last = {
            "step": step,
            "tokens": tokens,
            **_means([asdict(metrics) for metrics in self._pending]),
            "dead_share": dead,
            "dead_tokens": window,
            "lr": self.config.learning_rate(step - 1),
            "tokens_per_second": round(len(self._pending) * self.config.batch_size / seconds),
        }
        if held_out is not None:
            self.last["held_out"] = dict(held_out)
        if self.path is not None:
            with disk_errors(self.path), open(self.path, "a") as file:
                file.write(json.dumps(self.last) + "\n")
        for listener in self.listeners:
            listener.line(self.last)
        self._pending.clear()
        self._since = time.monotonic()

    def size(self) -> int:
        """The length of the file in bytes: what a checkpoint records."""
        return 0 if self.path is None else self.path.stat().st_size


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each metric, nested mappings included; empty ones are left out."""
    found: dict[str, Any] = {}
    for key, first in rows[0].items():
        values = [row[key] for row in rows]
        if not isinstance(first, Mapping):
            found[key] = sum(values) / len(values)
        elif first:
            found[key] = _means(values)
    return found
