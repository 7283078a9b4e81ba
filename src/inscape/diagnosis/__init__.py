"""Diagnosis of wrong answers: hypotheses about features, proved by intervention."""

from inscape.diagnosis.baselines import Baseline, baselines, trigger_position
from inscape.diagnosis.cases import Case, shares
from inscape.diagnosis.diagnose import Diagnosis, Suspect, diagnose

__all__ = [
    "Baseline",
    "Case",
    "Diagnosis",
    "Suspect",
    "baselines",
    "diagnose",
    "shares",
    "trigger_position",
]
