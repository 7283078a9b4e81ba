"""Progress on standard error: how much is done, at which rate, how long it will take.

A terminal shows bars. Elsewhere, work that takes long prints a line now and then, and one at its
end. `INSCAPE_PROGRESS=0` silences both, `INSCAPE_PROGRESS=1` shows bars everywhere.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

_FIRST, _EVERY = 10.0, 60.0  # seconds: the first line where there is no terminal, and the others
_shown: list[progress] = []  # the bars on screen: an inner bar joins its outer bar's display


def _way() -> str:
    """How progress is shown: "bars", "lines" or "" for not at all."""
    setting = os.environ.get("INSCAPE_PROGRESS", "")
    if setting == "0" or sys.stderr is None:
        return ""
    return "bars" if setting == "1" or sys.stderr.isatty() else "lines"


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
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


class progress:
    """A progress bar, or lines, as a context manager.

    Args:
        description: what is being done, in a word or two.
        total: how many units there are; None when it is not known.
        unit: what is counted, in the plural ("tokens", "steps", ...).
        shown: False for a process alongside the one that reports.

    `advance(n, loss=0.12)` counts `n` units and shows the named figures next to the bar.
    """

    def __init__(
        self,
        description: str,
        total: float | None = None,
        unit: str = "steps",
        *,
        shown: bool = True,
    ) -> None:
        self.description, self.total, self.unit, self.shown = description, total, unit, shown
        self.done = 0.0
        self._way = ""
        self._start = self._next_line = 0.0
        self._display: Progress | None = None

    def __enter__(self) -> progress:
        self._start = time.monotonic()
        self._way = _way() if self.shown else ""
        self._next_line = self._start + _FIRST
        if self._way == "bars":
            self._owner = not _shown
            self._display = _shown[-1]._display if _shown else _new_display()
            assert self._display is not None
            if self._owner:
                self._display.start()
            self._task = self._display.add_task(
                self.description, total=self.total, rate="", figures=""
            )
            _shown.append(self)
        return self

    def advance(self, n: float = 1, **figures: float | str) -> None:
        """Counts `n` more units; `figures` (say loss=0.1) are shown next to the bar."""
        self.done += n
        if not self._way:
            return
        shown = " ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in figures.items()
        )
        if self._display is not None:
            fields: dict[str, Any] = {
                "rate": self._rate(),
                **({"figures": shown} if figures else {}),
            }
            self._display.update(self._task, advance=n, **fields)
        elif time.monotonic() >= self._next_line:
            of = f" of {_compact(self.total)}" if self.total else ""
            self._line(f"{_compact(self.done)}{of} {self.unit}", shown)
            self._next_line = time.monotonic() + _EVERY

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-6)
        if self.done < seconds:
            return f"{_compact(seconds / self.done)} s each" if self.done else ""
        return f"{_compact(self.done / seconds)} {self.unit}/s"

    def _line(self, *parts: str) -> None:
        shown = ", ".join(part for part in (*parts, self._rate()) if part)
        print(f"{self.description}: {shown}", file=sys.stderr, flush=True)

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        seconds = time.monotonic() - self._start
        if self._display is not None:
            _shown.remove(self)
            if self._owner:
                self._display.stop()
            else:
                self._display.remove_task(self._task)
            self._display = None
        elif self._way and kind is None and seconds >= _FIRST:
            self._line(f"{_compact(self.done)} {self.unit} in {seconds:.0f} s")


def track(
    items: Iterable[T],
    description: str,
    *,
    total: int | None = None,
    unit: str = "steps",
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
