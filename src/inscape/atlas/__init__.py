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

__all__ = [
    "Atlas",
    "BuildConfig",
    "build",
    "default_sites",
    "harvest_atlas",
    "index_atlas",
    "label_atlas",
    "settings_of",
    "train_atlas",
    "wanted_dictionaries",
]
