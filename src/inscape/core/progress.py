"""Progress on standard error: how much is done, at which rate, how long it will take.

Bars are shown on a terminal only. `INSCAPE_PROGRESS=0` silences them everywhere,
`INSCAPE_PROGRESS=1` shows them everywhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")

_shown: list[progress] = []  # the bars on screen: an inner bar joins its outer bar's display


def progress_wanted() -> bool:
    """Whether bars are shown: on a terminal, unless INSCAPE_PROGRESS says otherwise."""
    setting = os.environ.get("INSCAPE_PROGRESS", "")
    if setting in ("0", "1"):
        return setting == "1"
    return sys.stderr is not None and sys.stderr.isatty()


def _new_display() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[figures]}[/dim]"),
        console=Console(stderr=True),
        refresh_per_second=5,
    )


def _compact(number: float) -> str:
    """A number in at most five characters: 950, 1.2k, 34M."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            scaled = number / limit
            return f"{scaled:.1f}{suffix}" if abs(scaled) < 10 else f"{scaled:.0f}{suffix}"
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


class progress:
    """A progress bar as a context manager.

    Args:
        description: what is being done, in a word or two.
        total: how many units there are; None when it is not known.
        unit: what is counted ("tokens", "steps", ...).
        shown: False for a process beside the one that tells of the work.

    `advance(n, loss=0.12)` counts `n` units and shows the named figures beside the bar.
    """

    def __init__(
        self, description: str, total: float | None = None, unit: str = "it", *, shown: bool = True
    ) -> None:
        self.description, self.total, self.unit, self.shown = description, total, unit, shown
        self.done = 0.0
        self._display: Progress | None = None
        self._owner = False
        self._task: TaskID | None = None
        self._start = 0.0

    def __enter__(self) -> progress:
        self._start = time.monotonic()
        if self.shown and progress_wanted():
            outer = _shown[-1]._display if _shown else None
            self._owner = outer is None
            self._display = outer if outer is not None else _new_display()
            if self._owner:
                self._display.start()
            self._task = self._display.add_task(
                self.description, total=self.total, rate="", figures=""
            )
            _shown.append(self)
        return self

    def advance(self, n: float = 1, **figures: float | str) -> None:
        """Counts `n` more units; `figures` (say loss=0.1) are shown beside the bar."""
        self.done += n
        if self._display is None or self._task is None:
            return
        seconds = max(time.monotonic() - self._start, 1e-6)
        shown = " ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
        )
        rate = f"{_compact(self.done / seconds)} {self.unit}/s"
        if figures:
            self._display.update(self._task, advance=n, rate=rate, figures=shown)
        else:
            self._display.update(self._task, advance=n, rate=rate)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._display is None:
            return
        _shown.remove(self)
        if self._owner:
            self._display.stop()
        elif self._task is not None:
            self._display.remove_task(self._task)
        self._display = None


def track(
    items: Iterable[T],
    description: str,
    *,
    total: int | None = None,
    unit: str = "it",
    shown: bool = True,
) -> Iterator[T]:
    """Yields `items` under a progress bar on standard error, if it is to be shown.

    `total` is taken from `len(items)` when it is not given and `items` has a length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress(description, total, unit, shown=shown) as bar:
        for item in items:
            yield item
            bar.advance()
