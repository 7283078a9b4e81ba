"""Diagnosis of wrong answers: hypotheses about features, proved by intervention."""

from inscape.diagnosis.baselines import CAUSES, Baseline, baselines
from inscape.diagnosis.cases import Case, encode, shares
from inscape.diagnosis.diagnose import diagnose
from inscape.diagnosis.result import MEANING, Candidate, Diagnosis, RandomControl

__all__ = [
    "CAUSES",
    "MEANING",
    "Baseline",
    "Candidate",
    "Case",
    "Diagnosis",
    "RandomControl",
    "baselines",
    "diagnose",
    "encode",
    "shares",
]
