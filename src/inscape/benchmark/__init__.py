"""The benchmark: what inscape claims, measured against the microworld's truth."""

from inscape.benchmark.interface import DictionaryFeatures, Features, entries
from inscape.benchmark.row import Check, Row
from inscape.benchmark.rows import ROWS, run_rows
from inscape.benchmark.run import PARTS, Benchmark, run_benchmark
from inscape.benchmark.system import System

__all__ = [
    "PARTS",
    "ROWS",
    "Benchmark",
    "Check",
    "DictionaryFeatures",
    "Features",
    "Row",
    "System",
    "entries",
    "run_benchmark",
    "run_rows",
]
