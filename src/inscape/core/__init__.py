"""Errors, configurations, progress, devices and seeds: what every room stands on."""

from inscape.core.checks import all_of, finite_number, instance_of, short, whole
from inscape.core.config import Config, ConfigError
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
from inscape.core.machine import (
    hand_back_memory,
    has_bf16,
    keep_freed_memory,
    num_cores,
    pick_device,
    total_memory,
)
from inscape.core.names import (
    AS_BYTES,
    LabelOf,
    characters,
    first_shown,
    no_label,
    quoted,
    tokens_as_label,
    with_signs,
)
from inscape.core.progress import progress, track
from inscape.core.seeds import seeded

__all__ = [
    "AS_BYTES",
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
    "characters",
    "finite_number",
    "first_shown",
    "hand_back_memory",
    "has_bf16",
    "instance_of",
    "keep_freed_memory",
    "no_label",
    "num_cores",
    "pick_device",
    "progress",
    "quoted",
    "seeded",
    "short",
    "tokens_as_label",
    "total_memory",
    "track",
    "warn",
    "whole",
    "wilson",
    "with_signs",
]
