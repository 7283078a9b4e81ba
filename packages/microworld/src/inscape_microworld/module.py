"""Modules that are run as commands: `python -m inscape_microworld.train`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from inscape.core.errors import InscapeError

GO_ON = "run the same command again: it goes on where it was"


def run_module(main: Callable[[], None]) -> NoReturn:
    """Run `main` and end the process: exit code 2 and one line for what the user can mend.

    Faults of inscape keep their traceback.
    """
    try:
        main()
    except InscapeError as error:
        _end(str(error))
    except KeyboardInterrupt:
        _end(f"stopped; {GO_ON}")
    sys.exit(0)


def _end(message: str) -> NoReturn:
    print(f"inscape: {message}", file=sys.stderr)
    sys.exit(2)
