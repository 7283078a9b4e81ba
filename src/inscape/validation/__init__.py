"""Validation: figures and checks that a dictionary, a label or a graph has to hold up to."""

from inscape.validation.absorption import Absorption, absorption
from inscape.validation.concepts import EVERYDAY, Concept, read_concepts
from inscape.validation.detectors import Detector
from inscape.validation.edges import EdgeCheck, check_edges
from inscape.validation.probing import SparseProbing, sparse_probing
from inscape.validation.selectivity import ConceptCheck, ConceptChecks, check_concepts

__all__ = [
    "EVERYDAY",
    "Absorption",
    "Concept",
    "ConceptCheck",
    "ConceptChecks",
    "Detector",
    "EdgeCheck",
    "SparseProbing",
    "absorption",
    "check_concepts",
    "check_edges",
    "read_concepts",
    "sparse_probing",
]
