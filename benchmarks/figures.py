"""Runs the demo (or goes on with it) and prints every row of the table: `make figures`."""

from __future__ import annotations

import subprocess
import sys

OUT = "inscape-demo"


def main() -> int:
    """The exit code is that of the first command that fails; a short row is no failure."""
    for arguments in (["demo", "--out", OUT], ["validate", f"{OUT}/atlas", *sys.argv[1:]]):
        code = subprocess.run([sys.executable, "-m", "inscape", *arguments], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
