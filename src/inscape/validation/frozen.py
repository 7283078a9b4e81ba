"""A frozen copy of a model, by plain hooks: what an edge is measured on.

1. A float64 copy of the model with eager attention runs the prompt once. In every attention the
   outputs of softmax (the patterns) and of sigmoid (gates) are recorded, call by call (queries and
   keys where attention stays fused), and which experts it chose (jetmoe's); so are norms'
   denominators and MLPs' inputs and outputs.
2. Frozen passes replay them: softmax and sigmoid answer as recorded, norms are rescaled to the
   recorded denominators, MLPs answer with their recorded outputs, to which a linear skip adds what
   its input's change makes.
3. What is to be removed is taken from an MLP's output or the embedding, batch row by batch row.

No gradient is taken, and no code is shared with the rooms that trace or linearise: from the model's
structure come only the names of its parts, of any family.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from inscape.core import ModelError
from inscape.model import Model

_HELD: tuple[str, ...] = ("softmax", "sigmoid")


class FrozenModel:
    """A float64 copy of the model that replays its own clean pass; a context manager.

    Raises:
        ModelError: a block has no MLP at which an edge could begin.
    """

    def __init__(
        self, model: Model, token_ids: Sequence[int], skips: Mapping[int, Tensor] | None = None
    ) -> None:
        """`skips`: by layer a map [pos, d_out, d_in], zero where there is none."""
        self.skips = dict(skips or {})
        self.tokens = torch.tensor([list(token_ids)], device=model.device)
        self.module = self._copy(model)
        same = dict(zip(model.module.modules(), self.module.modules(), strict=True))
        blocks = model.structure.blocks
        if any(block.mlp is None for block in blocks):
            raise ModelError(f"{model.name} has blocks without an MLP", expected="one in each")
        self.num_layers = model.num_layers
        self.first = same[blocks[0].module]
        held = model.structure.adapter.held
        self.lane = model.structure.lane
        # What is held in which part: in every attention, and in the whole model for some families.
        self.holding: list[tuple[Any, tuple[str, ...]]] = [
            (same[block.attn], _HELD) for block in blocks if block.attn is not None
        ]
        self.holding += [(self.module, held)] if held else []
        self.mlps = [(same[block.mlp], same[block.mlp_added]) for block in blocks]
        self.scales = [block.places["mlp_out"].scale for block in blocks]
        self.norms = {same[norm.module]: norm for norm in model.structure.norms}
        self.final_norm = same[model.structure.final_norm]
        self.head = model.unembedding().to(next(self.module.parameters()).dtype)
        self.denominators: dict[nn.Module, Tensor] = {}
        self.embedded = torch.empty(0)
        self.mlp_in: list[Tensor] = []
        self.mlp_out = [torch.empty(0)] * self.num_layers
        self._hooks = ExitStack()
        self._held: dict[int, list[Tensor]] = {}
        self._removed: dict[int, Tensor] = {}
        self._read: dict[int, Tensor] = {}

    def _copy(self, model: Model) -> Any:
        """In float64, or in float32 where the model's own code holds to that."""
        original: Any = model.module
        module = copy.deepcopy(original).double()
        module.set_attn_implementation("eager")
        module.set_experts_implementation("eager")  # the others have no float64
        try:
            module(self.tokens, use_cache=False)
        except RuntimeError:
            module.float()
        return module

    def __enter__(self) -> FrozenModel:
        with torch.no_grad(), self._hooked(replay=False):
            self.module(self.tokens, use_cache=False)
        self.mlp_in = [self._read[i] for i in range(self.num_layers)]
        self._hooks.enter_context(self._hooked(replay=True))
        return self

    def __exit__(self, *unused: object) -> None:
        self._hooks.close()

    @torch.no_grad()
    def run(self, removed: dict[int, Tensor], batch: int) -> dict[int, Tensor]:
        """A frozen pass with `removed` [batch, pos, d_model] taken out per layer (-1: embedding).

        Returns every MLP's input by layer, and the final norm's output under num_layers.
        """
        self._removed, self._read = removed, {}
        self.module(self.tokens.expand(batch, -1), use_cache=False)
        return self._read

    @contextmanager
    def _hooked(self, *, replay: bool) -> Iterator[None]:
        """Every part under hooks that record, or answer as recorded."""
        with self._attention(replay=replay), ExitStack() as stack:

            def before(part: Any, hook: Callable[..., Any]) -> None:
                stack.callback(part.register_forward_pre_hook(hook, with_kwargs=True).remove)

            def after(part: Any, hook: Callable[..., Any]) -> None:
                stack.callback(part.register_forward_hook(hook, with_kwargs=True).remove)

            before(self.first, self._remove_embedding if replay else self._keep_embedding)
            for i, (mlp, added) in enumerate(self.mlps):
                before(mlp, partial(self._keep_mlp_in, i))
                after(added, partial(self._replay_mlp if replay else self._keep_mlp_out, i))
            for norm in self.norms:
                after(norm, self._replay_norm if replay else self._record_norm)
            after(self.final_norm, self._keep_final)
            yield

    @contextmanager
    def _attention(self, *, replay: bool) -> Iterator[None]:
        """Every attention under a mode of its own that records, or answers as recorded."""
        usual = [part.forward for part, _ in self.holding]
        for i, (part, names) in enumerate(self.holding):
            part.forward = self._under(i, usual[i], names, replay)
        try:
            yield
        finally:
            for (part, _), forward in zip(self.holding, usual, strict=True):
                part.forward = forward

    def _under(
        self, i: int, forward: Callable[..., Any], names: tuple[str, ...], replay: bool
    ) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            kept = self._held.setdefault(i, [])
            with _Replay(names, kept) if replay else _Record(names, kept):
                return forward(*args, **kwargs)

        return run

    def _denominator(self, norm: nn.Module, x: Tensor) -> Tensor:
        form = self.norms[norm]
        x = x - x.mean(-1, keepdim=True) if form.centred else x
        return 1 / (x.square().mean(-1, keepdim=True) + form.epsilon).rsqrt()

    def _record_norm(self, norm: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        self.denominators[norm] = self._denominator(norm, _given(args, kwargs))

    def _replay_norm(self, norm: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
        form, x = self.norms[norm], _given(args, kwargs)
        x = x - x.mean(-1, keepdim=True) if form.centred else x
        result = x / _rows(self.denominators[norm], x)
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        result = result if weight is None else result * (weight + form.offset)
        return result if bias is None else result + bias

    def _by_position(self, x: Tensor) -> Tensor:
        return x if x.ndim == 3 else x.reshape(-1, self.tokens.shape[1], x.shape[-1])

    def _keep_mlp_in(self, i: int, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._read[i] = self._by_position(_given(args, kwargs))

    def _keep_mlp_out(self, i: int, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.mlp_out[i] = self._by_position(_first(output).clone()) * self.scales[i]

    def _replay_mlp(self, i: int, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        answer = self.mlp_out[i].expand_as(self._by_position(_first(output)))
        if i in self.skips:
            change = self._read[i] - self.mlp_in[i]
            answer = answer + torch.einsum("bpi,poi->bpo", change, self.skips[i].to(change))
        if i in self._removed:
            answer = answer - self._removed[i]
        answer = (answer / self.scales[i]).reshape(_first(output).shape)
        return (answer, *output[1:]) if isinstance(output, tuple) else answer

    def _keep_embedding(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        x = _given(args, kwargs)
        self.embedded = (x if self.lane is None else x[self.lane]).clone()

    def _remove_embedding(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        x = _given(args, kwargs)
        if -1 in self._removed and self.lane is None:
            x = x - self._removed[-1]
        elif -1 in self._removed:
            x = x.clone()
            x[self.lane] -= self._removed[-1]
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

    def _keep_final(self, module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        self._read[self.num_layers] = output


class _Record(TorchFunctionMode):
    """Keeps what functions of these names give; of attention also its choices of the k largest, and
    the queries and keys where it is fused."""

    def __init__(self, names: tuple[str, ...], kept: list[Tensor]) -> None:
        super().__init__()
        self.names, self.kept = names, kept

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is scaled_dot_product_attention and self.names == _HELD:
            args = (self.instead(args[0]), self.instead(args[1]), *args[2:])
        output, name = func(*args, **(kwargs or {})), getattr(func, "__name__", "")
        if name == "topk" and self.names == _HELD:
            return type(output)(self.instead(part) for part in output)
        return self.instead(output) if name in self.names else output

    def instead(self, value: Tensor) -> Tensor:
        self.kept.append(value.clone())
        return value


class _Replay(_Record):
    """Answers as recorded, the same in every row of the batch."""

    def __init__(self, names: tuple[str, ...], kept: list[Tensor]) -> None:
        super().__init__(names, list(kept))

    def instead(self, value: Tensor) -> Tensor:
        return _rows(self.kept.pop(0), value)


def _rows(recorded: Tensor, like: Tensor) -> Tensor:
    """What was recorded of one row, for every row of the batch."""
    repeats = int(like.shape[0]) // int(recorded.shape[0])
    return recorded.repeat(repeats, *[1] * (recorded.ndim - 1))


def _given(args: Any, kwargs: Any) -> Tensor:
    x: Tensor = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    return x


def _first(output: Any) -> Tensor:
    first: Tensor = output[0] if isinstance(output, tuple) else output
    return first
