"""The machine that the work runs on: processors, device, memory. torch is imported only late."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inscape.core.errors import InputError

if TYPE_CHECKING:
    import torch

_USABLE = "cpu, cuda or cuda:N"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def num_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`; without a name, a CUDA GPU if there is one, else the CPU.

    Apple's GPU (mps) is refused: it has no float64, in which means and interventions are summed,
    and has returned wrong products silently (TransformerLens #1178, pytorch #193487).

    Raises:
        InputError: `name` is no device, one that this machine does not have, or not supported.
    """
    import torch

    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r} is unknown", expected=_USABLE) from error
    if device.type not in ("cpu", "cuda"):
        why = ", which has no float64," if device.type == "mps" else ""
        raise InputError(f"device {name!r}{why} is not supported", expected=_USABLE)
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if device.type == "cuda" and (device.index or 0) >= len(found):
        raise InputError(
            f"device {name!r} is not on this machine",
            expected=" or ".join(["cpu", *found]),
            next_step="leave --device out to take what is there",
        )
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bf16: a CPU without such instructions only emulates it."""
    import torch

    cpu: Any = torch.cpu
    able = cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    return bool(device.type == "cuda" or able)


def total_memory() -> int | None:
    """The memory of this machine, or what its container may use, in bytes; None if not known."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    with suppress(OSError, ValueError):  # "max" where there is no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for the next allocation; False where there is no glibc.

    Large buffers are freed and taken again at every training step, and half of the run would go
    into clearing fresh pages. The process's size then stays at its peak.
    """
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(
        mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    )


def hand_back_memory() -> bool:
    """Ask glibc to hand freed memory back to the system; False where there is no glibc.

    Forward passes over batches of ever different shapes leave gaps that are too small for the next
    one: two kilobytes a token, which would add up to gigabytes over a long text.
    """
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _of_glibc(name: str) -> Any:
    """A function of it; None where it is not there."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL("libc.so.6"), name)
    except (OSError, AttributeError):
        return None
