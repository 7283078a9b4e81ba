"""Training of dictionaries from any stream of batches; it knows no model."""

from inscape.training.check import check_gradients
from inscape.training.config import TrainConfig, default_lr
from inscape.training.initial import geometric_median, initial_weights
from inscape.training.loop import train
from inscape.training.stream import ActivationSource
from inscape.training.topk import Gradients, StepMetrics, TopKTrainer

__all__ = [
    "ActivationSource",
    "Gradients",
    "StepMetrics",
    "TopKTrainer",
    "TrainConfig",
    "check_gradients",
    "default_lr",
    "geometric_median",
    "initial_weights",
    "train",
]
