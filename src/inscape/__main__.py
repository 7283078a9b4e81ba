"""`python -m inscape` is the command `inscape`."""

from __future__ import annotations

import sys


def run() -> None:
    """The entry point of the command; Ctrl-C while it is still being loaded ends in one line."""
    try:
        from inscape.cli.main import run as run_command
    except KeyboardInterrupt:
        print("inscape: stopped; nothing had been begun", file=sys.stderr)
        sys.exit(2)
    run_command()


if __name__ == "__main__":
    run()
