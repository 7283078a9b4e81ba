"""Figures on real models: SmolLM2, and tiny random models of every family.

Each module of this package holds a `FIGURES` of its rows. `python -m benchmarks.realmodel [NAME]`
prints rows; `python -m benchmarks.figures --only real` measures and records them.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measurement import Measurement
from benchmarks.rows import collected

FIGURES: Mapping[str, Measurement] = collected(__name__, __path__)
