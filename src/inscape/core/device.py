"""Which device the work runs on. torch is imported only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inscape.core.errors import InputError

if TYPE_CHECKING:
    import torch


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`; without a name, the GPU if there is one, else the CPU.

    Raises:
        InputError: `name` is no device, or a device that this machine does not have.
    """
    import torch

    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"device {name!r} is unknown", expected="cpu, cuda, cuda:N or mps"
        ) from error
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if device.type == "cuda" and (device.index or 0) >= len(found):
        raise InputError(
            f"device {name!r} is not on this machine",
            expected=" or ".join(["cpu", *found]),
            next_step="leave --device out to take what is there",
        )
    return device
