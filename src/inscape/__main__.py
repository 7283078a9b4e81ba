"""`python -m inscape` is the command `inscape`."""

from inscape.cli.main import run

run()
