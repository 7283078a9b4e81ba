"""A pretended graphics card, for code that has to leave tensors where they are.

1. Within `Card`, tensors on the device "meta" have values: a wrapper says that it is there, and
   holds a tensor on the CPU that does the work.
2. As on a card, an operation on tensors of the card and of the CPU together is refused, single
   numbers apart; also where a card would take an index from the CPU, and wait for it.
3. What is copied between the two is noted, by its number of bytes; and operations whose result
   needs values of the card, for which a processor would wait.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from inscape.model import Model, Run

CARD = torch.device("meta")
_WAITS = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
)


class _There(Tensor):
    """A tensor on the card."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _There:
        found: _There = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CARD,
        )
        found.held = held
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a tensor of the card, without the card")


class Card(TorchDispatchMode):
    """The card, while it is entered. to_cpu, to_card: bytes of each copy; waits: names of
    operations."""

    def __init__(self) -> None:
        super().__init__()
        self.to_cpu: list[int] = []
        self.to_card: list[int] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [x for x in given if isinstance(x, _There)]
        wanted = kwargs.get("device")
        if wanted is not None and torch.device(wanted) == CARD:
            kwargs["device"] = torch.device("cpu")
        if func is torch.ops.aten._to_copy.default and wanted is not None:
            self._note(bool(there), torch.device(wanted) == CARD, given[0])
        elif func is torch.ops.aten.copy_.default:
            self._note(isinstance(given[1], _There), isinstance(given[0], _There), given[1])
        elif there:
            alone = [x for x in given if not isinstance(x, _There) and x.dim()]
            assert not alone, f"{func} of tensors of the card and of the CPU"
        stays = bool(there) if wanted is None else torch.device(wanted) == CARD
        if func is torch.ops.aten.copy_.default:
            stays = isinstance(given[0], _There)
        masks = func is torch.ops.aten.index.Tensor and any(x.dtype == torch.bool for x in there)
        if there and (masks or func in _WAITS):
            self.waits.append(str(func))
        wrappers = {id(x.held): x for x in there}
        inner = tree_map(lambda x: x.held if isinstance(x, _There) else x, (args, kwargs))
        found = func(*inner[0], **inner[1])

        def placed(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            if id(x) in wrappers:
                return wrappers[id(x)]
            return _There(x) if stays else x

        return tree_map(placed, found)

    def _note(self, from_card: bool, onto_card: bool, x: Tensor) -> None:
        if from_card and not onto_card:
            self.to_cpu.append(x.nbytes)
        elif onto_card and not from_card:
            self.to_card.append(x.nbytes)


class OnCard:
    """A model that gives its activations on the card."""

    __class__ = Model  # type: ignore[assignment]  it stands in for one

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def device(self) -> torch.device:
        return CARD

    def run(self, tokens: Tensor, *, read: list[str]) -> Run:
        found = self._model.run(tokens, read=read)
        return Run({site: _There(x) for site, x in found.acts.items()})
