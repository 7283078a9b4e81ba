"""Figures of traces and circuits: exactness, what interventions say, time and memory.

Each module of this package holds a `FIGURES` of its rows. `python -m benchmarks.traces [NAME]`
prints rows; `python -m benchmarks.figures --only trace` measures and records them.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measurement import Measurement
from benchmarks.rows import collected

FIGURES: Mapping[str, Measurement] = collected(__name__, __path__)
