"""Figures on real models: SmolLM2, and tiny random models of every family.

Each module of this package holds a `FIGURES` of its rows. `python -m benchmarks.realmodel [NAME]`
prints rows; `python -m benchmarks.figures --only real` measures and records them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from benchmarks.measurement import Measurement

FIGURES: Mapping[str, Measurement] = {
    name: measurement
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__))
    if module != "__main__"
    for name, measurement in import_module(f"{__name__}.{module}").FIGURES.items()
}
