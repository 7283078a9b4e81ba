"""Validation: figures and checks that a dictionary, a label or a graph has to hold up to."""

from inscape.validation.edges import EdgeCheck, check_edges

__all__ = ["EdgeCheck", "check_edges"]
