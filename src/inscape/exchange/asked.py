"""What the user says of a foreign dictionary beyond its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inscape.model import Model

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Asked:
    """What the user says beyond the files.

    site_in, site_out: where it reads and writes, where the files do not say it in our words. name:
    as in name/feature; from its sites by default. scale: what activations are multiplied by, for
    formats whose files leave it out. ignore: settings to ignore. k: of a top-k dictionary whose
    files leave it out. model: whose norm is folded in, for dictionaries that read what an MLP's
    norm gives before its gain. settings: those of the set (config.yaml) that it belongs to.
    """

    site_in: str | None = None
    site_out: str | None = None
    name: str | None = None
    scale: float | None = None
    ignore: tuple[str, ...] = ()
    k: int | None = None
    model: Model | None = None
    settings: Mapping[str, Any] | None = None
