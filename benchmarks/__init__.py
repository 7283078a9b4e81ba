"""Measurements of inscape, run from the repository."""
