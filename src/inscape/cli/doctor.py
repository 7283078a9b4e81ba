"""`inscape doctor`: what this machine and this installation offer."""

from __future__ import annotations


def command() -> None:
    """Check."""
