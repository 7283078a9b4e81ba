"""`python -m benchmarks.traces [NAME ...]`: prints the rows, or those whose name begins so."""

import sys

from benchmarks.rows import main
from benchmarks.traces import FIGURES

sys.exit(main("traces", FIGURES))
