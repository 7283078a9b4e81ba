"""Training of dictionaries from any stream of batches, independent of any model."""

from inscape.training.config import TrainConfig, default_lr
from inscape.training.connect import connected
from inscape.training.from_text import train_from_text
from inscape.training.initial import geometric_median, initial_weights
from inscape.training.listeners import Listener
from inscape.training.loop import (
    MISSED,
    Job,
    Watch,
    default_config,
    dictionary_shape,
    remarks,
    train,
    train_many,
)
from inscape.training.planning import Plan, plan
from inscape.training.ranks import Mesh, Ranks
from inscape.training.stream import ActivationSource
from inscape.training.sweep import Front, Setting, SweepConfig, Trained, front_of, sweep
from inscape.training.trainer import Gradients, StepMetrics, Trainer
from inscape.training.variants import Variant, known

__all__ = [
    "MISSED",
    "ActivationSource",
    "Front",
    "Gradients",
    "Job",
    "Listener",
    "Mesh",
    "Plan",
    "Ranks",
    "Setting",
    "StepMetrics",
    "SweepConfig",
    "TrainConfig",
    "Trained",
    "Trainer",
    "Variant",
    "Watch",
    "connected",
    "default_config",
    "default_lr",
    "dictionary_shape",
    "front_of",
    "geometric_median",
    "initial_weights",
    "known",
    "plan",
    "remarks",
    "sweep",
    "train",
    "train_from_text",
    "train_many",
]
