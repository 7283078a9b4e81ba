"""The folder with all that is known of a model, and what can be done with it."""

from inscape.atlas.atlas import Atlas
from inscape.atlas.building import build
from inscape.atlas.concepts import Concept, Concepts, Removal
from inscape.atlas.feature import Feature
from inscape.atlas.finding import Found
from inscape.atlas.fit import Fit, fit
from inscape.atlas.quality import Quality, held_out_identity, loss_watch, quality
from inscape.atlas.results import Results
from inscape.atlas.steps import BuildConfig, default_sites, read_recipe, settings_of

__all__ = [
    "Atlas",
    "BuildConfig",
    "Concept",
    "Concepts",
    "Feature",
    "Fit",
    "Found",
    "Quality",
    "Removal",
    "Results",
    "build",
    "default_sites",
    "fit",
    "held_out_identity",
    "loss_watch",
    "quality",
    "read_recipe",
    "settings_of",
]
