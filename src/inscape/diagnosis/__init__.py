"""Diagnosis of wrong answers: hypotheses about features, proved by intervention."""

from inscape.diagnosis.cases import Case, encode
from inscape.diagnosis.diagnose import diagnose
from inscape.diagnosis.outcomes import shares
from inscape.diagnosis.result import MEANING, Candidate, Diagnosis, RandomControl

__all__ = [
    "MEANING",
    "Candidate",
    "Case",
    "Diagnosis",
    "RandomControl",
    "diagnose",
    "encode",
    "shares",
]
