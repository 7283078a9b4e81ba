"""How every numba kernel of this room is compiled and run.

Kernels are cached on disk, use no more threads than torch was told to use, and are serialised by
one lock because numba's fallback thread pool must not be entered twice at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import torch
from numpy.typing import NDArray

from inscape.dictionary.kernels.choice import fast

_LOCK = threading.Lock()
# Reassociation lets dot products vectorise; NaN and infinity keep their meaning, because a
# poisoned batch must stay visible in the loss.
_MATHS = {"reassoc", "contract", "arcp", "nsz"}

Function = TypeVar("Function", bound=Callable[..., Any])


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
    """Whether the numba kernels can serve these tensors: CPU, fp32 where floating point."""
    return fast() and all(
        t.device.type == "cpu" and (not t.is_floating_point() or t.dtype == torch.float32)
        for t in tensors
    )
