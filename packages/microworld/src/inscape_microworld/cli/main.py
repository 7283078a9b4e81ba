"""The command `inscape-microworld`."""

from __future__ import annotations

from typing import NoReturn

from inscape.cli import main as shell

OVERVIEW = """The test bed of inscape: small models whose concepts, circuits and faults are known.

\b
inscape-microworld demo                           the whole chain on the bundled model
inscape-microworld table inscape-demo/atlas       the claims, measured against the truth
inscape-microworld benchmark inscape-demo/atlas   dictionaries against the known concepts
"""

VERBS = {
    "demo": "The whole chain, live, on the bundled model.",
    "table": "Measure the table of claims against the truth.",
    "benchmark": "Score dictionaries against the known truth.",
}

PROGRAM = shell.Program("inscape-microworld", "inscape_microworld.cli", OVERVIEW, VERBS)


def run() -> NoReturn:
    """The entry point of the command."""
    shell.run(PROGRAM)
