"""The benchmark: what inscape claims, measured against the microworld's truth."""

from inscape_microworld.benchmark.interface import DictionaryFeatures, Features, entries
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.rows import ROWS, run_rows
from inscape_microworld.benchmark.run import PARTS, Benchmark, run_benchmark
from inscape_microworld.benchmark.system import System

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
