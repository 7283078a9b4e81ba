"""The error tree for mistakes that a user can mend.

Anything a user can put right (a wrong path, an unknown site, a full disk) is an
`InscapeError`; a fault of inscape itself stays an ordinary exception with its traceback.
"""

from __future__ import annotations

import warnings


class InscapeError(Exception):
    """A mistake that the user can mend, reported in one line.

    Args:
        what: the offending value and what is wrong with it.
        expected: what was expected in its place.
        next_step: what to do now.

    `str(error)` is always a single line: ``<what>; expected <expected>; <next_step>``.
    """

    def __init__(
        self, what: str, *, expected: str | None = None, next_step: str | None = None
    ) -> None:
        super().__init__(what, expected, next_step)
        self.what = what
        self.expected = expected
        self.next_step = next_step

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.next_step:
            parts.append(self.next_step)
        return " ".join("; ".join(parts).split())


class InputError(InscapeError):
    """A value typed or passed by the user is not usable."""


class SiteError(InscapeError):
    """A site is unknown, out of range, or does not exist in this model."""


class ModelError(InscapeError):
    """A model cannot be opened, or is of a family without an adapter."""


class DataError(InscapeError):
    """A corpus is empty, unreadable or too small."""


class StorageError(InscapeError):
    """A file or folder is missing, corrupt, locked, of another kind, or cannot be written."""


class Stopped(InscapeError):
    """Work was stopped on request at a place from which it can go on."""


class PeerError(InscapeError):
    """Another process of the same work has ended, or cannot be reached."""


class InscapeWarning(UserWarning):
    """Something that the user should know of, though the work goes on."""


def warn(message: str) -> None:
    """Warns in one line; the command line prints it without a place in the code."""
    warnings.warn(message.replace("\n", " "), InscapeWarning, stacklevel=2)
