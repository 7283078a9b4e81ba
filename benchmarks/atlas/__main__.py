"""`python -m benchmarks.atlas [NAME ...]`: prints the rows, or those whose name begins so."""

import sys

from benchmarks.atlas import FIGURES
from benchmarks.rows import main

sys.exit(main("atlas", FIGURES))
