"""Measurements of inscape, run from the repository.

`figures` is the command; a module beside it holds measurements under `FIGURES`, by name.
"""
