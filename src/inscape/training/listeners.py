"""Receivers of training log lines in addition to the log file: TensorBoard, Weights & Biases.

A custom listener implements the same three methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from inscape.core import InputError


class Listener(Protocol):
    """Receives each line of a log."""

    def begin(self, name: str, step: int) -> None:
        """A run starts or resumes after this many steps; reports of later steps are void."""
        ...

    def line(self, line: Mapping[str, Any]) -> None:
        """The next line."""
        ...

    def end(self) -> None:
        """The run ends, finished or stopped."""
        ...


class TensorBoard:
    """Event files in `folder`, one subfolder per dictionary.

    Raises:
        InputError: the package is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._writer: Any = None
        self._make = _package("torch.utils.tensorboard", "tensorboard").SummaryWriter

    def begin(self, name: str, step: int) -> None:
        self._writer = self._make(str(self.folder / name), purge_step=step)

    def line(self, line: Mapping[str, Any]) -> None:
        for key, value in scalars(line):
            self._writer.add_scalar(key, value, line["step"])

    def end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandB:
    """A run in a Weights & Biases project, named after the dictionary.

    Raises:
        InputError: the package is not installed.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self._run: Any = None
        self._wandb = _package("wandb", "wandb")

    def begin(self, name: str, step: int) -> None:
        self._run = self._wandb.init(
            project=self.project, name=name, config={"goes_on_after": step}, reinit="create_new"
        )

    def line(self, line: Mapping[str, Any]) -> None:
        self._run.log(dict(scalars(line)), step=line["step"])

    def end(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None


def scalars(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line by name, those of a nested mapping as outer/inner."""
    for key, value in line.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}", float(value)


def _package(module: str, name: str) -> Any:
    """A module of an optional package."""
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"{name} is not installed",
            expected="the package that writes these logs",
            next_step=f"pip install {name}",
        ) from error
