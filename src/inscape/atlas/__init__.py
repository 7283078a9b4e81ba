"""The folder with all that is known of a model, and what can be done with it."""

from inscape.atlas.atlas import Atlas, Found, build
from inscape.atlas.config import BuildConfig
from inscape.atlas.container import Container
from inscape.atlas.feature import Feature
from inscape.atlas.fit import Fit, fit
from inscape.atlas.quality import Quality, held_out_identity, loss_watch, quality
from inscape.atlas.results import Results
from inscape.atlas.steps import (
    default_sites,
    harvest_atlas,
    index_atlas,
    label_atlas,
    settings_of,
    train_atlas,
    wanted_dictionaries,
)

__all__ = [
    "Atlas",
    "BuildConfig",
    "Container",
    "Feature",
    "Fit",
    "Found",
    "Quality",
    "Results",
    "build",
    "default_sites",
    "fit",
    "harvest_atlas",
    "held_out_identity",
    "index_atlas",
    "label_atlas",
    "loss_watch",
    "quality",
    "settings_of",
    "train_atlas",
    "wanted_dictionaries",
]
