"""Interventions: edits of features and directions, splicing, fidelity, and the steering lab."""

from inscape.intervention.edits import DirectionEdit, Edit, FeatureEdit, edits
from inscape.intervention.fidelity import Fidelity, fidelity
from inscape.intervention.hooks import Intervention, hooks
from inscape.intervention.repair import Change, Repair, edited
from inscape.intervention.splice import replace_by, splice
from inscape.intervention.steering import (
    Dose,
    SteerResult,
    best_dose,
    difference_in_means,
    dose_response,
    prompted,
    random_direction,
    steer,
    text_loss,
)

__all__ = [
    "Change",
    "DirectionEdit",
    "Dose",
    "Edit",
    "FeatureEdit",
    "Fidelity",
    "Intervention",
    "Repair",
    "SteerResult",
    "best_dose",
    "difference_in_means",
    "dose_response",
    "edited",
    "edits",
    "fidelity",
    "hooks",
    "prompted",
    "random_direction",
    "replace_by",
    "splice",
    "steer",
    "text_loss",
]
