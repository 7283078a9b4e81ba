"""Validation: figures and checks that a dictionary, a label or a graph has to hold up to."""

from inscape.validation.concepts import EVERYDAY, Concept, read_concepts
from inscape.validation.detectors import Detector
from inscape.validation.edges import EdgeCheck, check_edges
from inscape.validation.selectivity import ConceptCheck, ConceptChecks, check_concepts

__all__ = [
    "EVERYDAY",
    "Concept",
    "ConceptCheck",
    "ConceptChecks",
    "Detector",
    "EdgeCheck",
    "check_concepts",
    "check_edges",
    "read_concepts",
]
