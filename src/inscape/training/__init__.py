"""Training of dictionaries from any stream of batches; it knows no model."""

from inscape.training.check import check_gradients
from inscape.training.config import TrainConfig, default_lr
from inscape.training.connect import connected
from inscape.training.initial import geometric_median, initial_weights
from inscape.training.listeners import Listener
from inscape.training.loop import Job, Watch, missed_target, train, train_many
from inscape.training.ranks import Mesh, Ranks
from inscape.training.stream import ActivationSource
from inscape.training.trainer import Gradients, StepMetrics, Trainer
from inscape.training.variants import Variant, known

__all__ = [
    "ActivationSource",
    "Gradients",
    "Job",
    "Listener",
    "Mesh",
    "Ranks",
    "StepMetrics",
    "TrainConfig",
    "Trainer",
    "Variant",
    "Watch",
    "check_gradients",
    "connected",
    "default_lr",
    "geometric_median",
    "initial_weights",
    "known",
    "missed_target",
    "train",
    "train_many",
]
