"""The folder with all that is known of a model, and the `build` that fills it."""

from inscape.atlas.atlas import Atlas
from inscape.atlas.build import (
    build,
    default_sites,
    harvest_atlas,
    index_atlas,
    label_atlas,
    settings_of,
    train_atlas,
    wanted_dictionaries,
)
from inscape.atlas.config import BuildConfig
from inscape.atlas.quality import Quality, held_out_identity, loss_watch, quality

__all__ = [
    "Atlas",
    "BuildConfig",
    "Quality",
    "build",
    "default_sites",
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
