"""Which kernels serve a call, and how those of numba are compiled and run.

They are cached on disk, use as many threads as torch, and are serialised by one lock, because
numba's fallback thread pool must not be entered twice at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numba
import torch
from numpy.typing import NDArray

from inscape.core import InputError

CHOICES = ("auto", "plain")
_chosen: list[str] = ["auto"]
_LOCK = threading.Lock()
# Reassociation lets dot products vectorise; NaN and infinity keep their meaning, because a
# poisoned batch must stay visible in the loss.
_MATHS = {"reassoc", "contract", "arcp", "nsz"}

Function = TypeVar("Function", bound=Callable[..., Any])


@contextmanager
def use_kernels(choice: str) -> Iterator[None]:
    """Within it, "auto" takes the fastest kernels that can serve, "plain" the references alone.

    Raises:
        InputError: another word.
    """
    if choice not in CHOICES:
        raise InputError(f"kernels {choice!r}", expected=" or ".join(CHOICES))
    _chosen.append(choice)
    try:
        yield
    finally:
        _chosen.pop()


def fast() -> bool:
    """Whether others than the plain references may be used."""
    return _chosen[-1] == "auto"


def compiled(function: Function) -> Function:
    """A function for use inside kernels: compiled, inlined by LLVM, no threads of its own."""
    jit = numba.njit(cache=True, fastmath=_MATHS, nogil=True)
    return cast(Function, jit(function))


def parallel(function: Function) -> Function:
    """A kernel with `prange` loops, run with as many threads as torch uses."""
    kernel = numba.njit(cache=True, fastmath=_MATHS, nogil=True, parallel=True)(function)

    def run(*args: Any) -> Any:
        with _LOCK:
            threads = torch.get_num_threads()
            wanted = min(threads, int(vars(numba.config)["NUMBA_NUM_THREADS"]))
            if numba.get_num_threads() != wanted:
                numba.set_num_threads(wanted)
            result = kernel(*args)
            # numba starts its threads at the first call, and where both use one OpenMP library
            # that sets torch's number of threads to that of the machine's cores.
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            return result

    return cast(Function, run)


def array(tensor: torch.Tensor) -> NDArray[Any]:
    """The same memory as a numpy array; the tensor must be contiguous and on the CPU."""
    if not tensor.is_contiguous():
        raise ValueError(f"kernel input of shape {tuple(tensor.shape)} is not contiguous")
    return tensor.detach().numpy()


def runs_here(*tensors: torch.Tensor) -> bool:
    """Whether the numba kernels can be used for these tensors: on the CPU, in fp32 or integers."""
    return fast() and all(
        t.device.type == "cpu" and (not t.is_floating_point() or t.dtype == torch.float32)
        for t in tensors
    )
