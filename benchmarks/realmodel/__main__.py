"""`python -m benchmarks.realmodel [NAME ...]`: prints the rows, or those whose name begins so."""

import sys

from benchmarks.realmodel import FIGURES
from benchmarks.rows import main

sys.exit(main("realmodel", FIGURES))
