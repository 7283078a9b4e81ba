"""Diagnosis of wrong answers: hypotheses about features, proved by intervention."""

from inscape.diagnosis.baselines import CAUSES, Baseline, baselines
from inscape.diagnosis.cases import Case, encode, shares
from inscape.diagnosis.diagnose import Diagnosis, Suspect, diagnose

__all__ = [
    "CAUSES",
    "Baseline",
    "Case",
    "Diagnosis",
    "Suspect",
    "baselines",
    "diagnose",
    "encode",
    "shares",
]
