"""Errors, configurations, progress, devices and seeds: what every room stands on."""

from inscape.core.checks import all_of, finite_number, instance_of, short, whole
from inscape.core.config import Config, ConfigError
from inscape.core.device import num_cores, pick_device
from inscape.core.errors import (
    DataError,
    InputError,
    InscapeError,
    InscapeWarning,
    ModelError,
    PeerError,
    SiteError,
    Stopped,
    StorageError,
    warn,
)
from inscape.core.intervals import Share, bootstrap_mean, wilson
from inscape.core.memory import keep_freed_memory, peak_memory, total_memory
from inscape.core.names import LabelOf, no_label
from inscape.core.progress import progress, track
from inscape.core.seeds import seeded

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "InputError",
    "InscapeError",
    "InscapeWarning",
    "LabelOf",
    "ModelError",
    "PeerError",
    "Share",
    "SiteError",
    "Stopped",
    "StorageError",
    "all_of",
    "bootstrap_mean",
    "finite_number",
    "instance_of",
    "keep_freed_memory",
    "no_label",
    "num_cores",
    "peak_memory",
    "pick_device",
    "progress",
    "seeded",
    "short",
    "total_memory",
    "track",
    "warn",
    "whole",
    "wilson",
]
