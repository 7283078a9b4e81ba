"""Errors, configurations, progress, devices and seeds: what every room stands on."""

from inscape.core.config import Config, ConfigError
from inscape.core.device import pick_device
from inscape.core.errors import (
    DataError,
    InputError,
    InscapeError,
    InscapeWarning,
    MissingExtraError,
    ModelError,
    PeerError,
    SiteError,
    Stopped,
    StorageError,
    warn,
)
from inscape.core.intervals import Share, wilson
from inscape.core.memory import keep_freed_memory
from inscape.core.progress import progress, progress_wanted, track
from inscape.core.seeds import seeded

__all__ = [
    "Config",
    "ConfigError",
    "DataError",
    "InputError",
    "InscapeError",
    "InscapeWarning",
    "MissingExtraError",
    "ModelError",
    "PeerError",
    "Share",
    "SiteError",
    "Stopped",
    "StorageError",
    "keep_freed_memory",
    "pick_device",
    "progress",
    "progress_wanted",
    "seeded",
    "track",
    "warn",
    "wilson",
]
