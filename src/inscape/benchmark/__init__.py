"""The benchmark: what inscape claims, measured against the microworld's truth."""

from inscape.benchmark.row import Check, Row
from inscape.benchmark.rows import ROWS, run_rows
from inscape.benchmark.system import System

__all__ = ["ROWS", "Check", "Row", "System", "run_rows"]
