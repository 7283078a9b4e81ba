"""A pretended GPU: tensors that say `device="fake"`, are computed on the CPU, and refuse to mix.

1. PyTorch's slot for foreign devices is set up under the name "fake", with no code of its own.
2. A tensor there wraps a CPU tensor. Every operation unwraps its tensors, runs on the CPU, and
   wraps what comes out.
3. An operation that is given tensors of both devices raises what CUDA would raise. As there, a
   scalar of the CPU may take part, indices may lie on the CPU, and copies may cross.

`model_on_fake(model)` moves a model; dictionaries and tensors move by `.to("fake")`. `waits()`
lists the operations that would make the host wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from inscape.model import Model

_setup_privateuseone_for_python_backend("fake")
FAKE = torch.device("fake", 0)
torch.fake.get_amp_supported_dtype = lambda: [torch.bfloat16]  # type: ignore[attr-defined]

CROSSING = ("aten::copy_", "aten::_to_copy", "aten::set_")
WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


_waited: list[str] = []


@contextmanager
def waits() -> Iterator[list[str]]:
    """The operations within it for which the host waits: a number read, a copy from the CPU or to
    it, a choice by a mask (the size of the result is not known beforehand)."""
    first = len(_waited)
    found: list[str] = []
    try:
        yield found
    finally:
        found += _waited[first:]


class _OnFake(Tensor):
    """A tensor on the pretended device; `inner` is the CPU tensor that holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> _OnFake:
        with torch.inference_mode(False):  # a view of a usual tensor must be a usual one
            made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
                cls,
                inner.size(),
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=FAKE,
            )
        made.inner = inner
        return made  # type: ignore[no-any-return]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"fake({self.inner!r})"

    def __format__(self, spec: str) -> str:
        return format(self.inner, spec)

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert a tensor of device fake to numpy: use Tensor.cpu() first")

    def tolist(self) -> Any:
        _waited.append("tolist")
        return self.inner.tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._can_decompose():  # whole in inference mode alone
            return func.decompose(*args, **(kwargs or {}))
        return _run(func, *args, **(kwargs or {}))


def _run(func: Any, *args: Any, **kwargs: Any) -> Any:
    """One operation on the CPU, its results on the device that PyTorch would put them on."""
    name = func._schema.name
    tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if name in INDEXING:
        indexed, indices, *values = args
        _refuse_mixing(name, [indexed, *(v for v in values if isinstance(v, Tensor))])
        _refuse_mixing(name, [indexed, *(i for i in indices if isinstance(i, _OnFake))])
    elif name not in CROSSING:
        _refuse_mixing(name, tensors)
    device = kwargs.get("device")
    if device is None:
        lead = tensors[:1] if name in CROSSING else tensors
        device = FAKE if not tensors or any(isinstance(t, _OnFake) for t in lead) else None
    else:
        kwargs = {**kwargs, "device": "cpu"}
    on_fake = device is not None and torch.device(device).type == "fake"
    there = any(isinstance(t, _OnFake) for t in tensors)
    masks = name in INDEXING and any(i.dtype == torch.bool for i in args[1] if i is not None)
    sized = name == "aten::repeat_interleave" and kwargs.get("output_size") is None
    crosses = name == "aten::_to_copy" and there != on_fake and not kwargs.get("non_blocking")
    if crosses or (there and (name in WAITING or masks or sized)):
        _waited.append(name.removeprefix("aten::"))
    same = {id(t.inner): t for t in tensors if isinstance(t, _OnFake)}
    inner_args, inner_kwargs = pytree.tree_map_only(_OnFake, lambda t: t.inner, (args, kwargs))
    out = func(*inner_args, **inner_kwargs)
    if torch.Tag.inplace_view in func.tags and same:  # the wrapper has to take the new shape too
        with no_dispatch():
            func(*args, **kwargs)
    assert all(t.shape == t.inner.shape for t in same.values()), f"{name} resizes"

    def wrap(t: Tensor) -> Tensor:
        if id(t) in same:  # it was changed in place
            return same[id(t)]
        return _OnFake(t) if on_fake else t

    return pytree.tree_map_only(Tensor, wrap, out)


def _refuse_mixing(name: str, tensors: list[Tensor]) -> None:
    devices = {t.device for t in tensors if t.ndim or isinstance(t, _OnFake)}
    if len(devices) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found {devices} ({name})"
        )


_fallback = torch.library.Library("_", "IMPL")
_fallback.fallback(_run, "PrivateUse1")
# What PyTorch would make of others: a copy without its copier, a range by resizing an empty tensor.
_direct = torch.library.Library("aten", "IMPL")
for _name in ("_to_copy.default", "arange.default", "arange.start", "arange.start_step"):
    _packet, _, _overload = _name.partition(".")
    _op = getattr(getattr(torch.ops.aten, _packet), _overload)
    _direct.impl(_name.removesuffix(".default"), partial(_run, _op), "PrivateUse1")


def model_on_fake(model: Model) -> Model:
    """The model, its parameters and buffers moved to the pretended device; tied ones stay tied."""
    moved: dict[int, Any] = {}
    for module in model.module.modules():
        for table in (module._parameters, module._buffers):
            for name, value in table.items():
                if value is None:
                    continue
                if id(value) not in moved:
                    on_fake = value.detach().to(FAKE)
                    moved[id(value)] = (
                        nn.Parameter(on_fake, requires_grad=False)
                        if isinstance(value, nn.Parameter)
                        else on_fake
                    )
                table[name] = moved[id(value)]
    return model
