"""Figures of the atlas of SmolLM2: its dictionaries, labels, search and index.

Each module of this package holds a `FIGURES` of its rows. `python -m benchmarks.atlas [NAME]`
prints rows; `python -m benchmarks.figures --only atlas` measures and records them.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.measurement import Measurement
from benchmarks.rows import collected

FIGURES: Mapping[str, Measurement] = collected(__name__, __path__)
