"""A frozen copy of a model, by plain hooks: what an edge is measured on.

1. A float64 copy of the model with eager attention runs the prompt once. In every attention the
   outputs of softmax (the patterns) and of sigmoid (gates) are recorded, call by call (queries and
   keys where attention stays fused), and which experts it chose (jetmoe's); so are norms'
   denominators and MLPs' inputs and outputs.
2. Frozen passes replay them: softmax and sigmoid answer as recorded, norms are rescaled to the
   recorded denominators, MLPs answer with their recorded outputs, to which a linear skip adds what
   its input's change makes. Where the stream is read as features, the change of these is undone.
3. What is to be removed is taken from an MLP's output, the embedding, or the stream where it is
   read as features, batch row by batch row.
4. Inside the MLPs that are read as neurons activation functions multiply by their recorded ratio of
   output to input, sigmoid and tanh answer as recorded, and a product of two that both change is
   the mean of those with either as recorded.

No gradient is taken, and no code is shared with the rooms that trace or linearise: from the model's
structure come only the names of its parts, of any family.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
        self,
        model: Model,
        token_ids: Sequence[int],
        skips: Mapping[int, Tensor] | None = None,
        neurons: Collection[int] = (),
        streams: Collection[str] = (),
    ) -> None:
        """`skips`: by layer a map [pos, d_out, d_in], zero where there is none. `neurons`: layers
        whose MLPs are read inside. `streams`: sites resid_pre.L or resid_post.L that are read as
        features, or attn_head.L of which heads are; what undoes their change is to be put into
        `undoing` by site, such a map too."""
        self.skips, self.neurons = dict(skips or {}), sorted(neurons)
        self.streams, self.undoing = list(streams), dict[str, Tensor]()
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
        self.blocks = [same[block.module] for block in blocks]
        self.mixed = {
            site: same[blocks[int(site.split(".")[1])].places["attn_head"].module]
            for site in self.streams
            if site.startswith("attn_head.")
        }
        self.downs = {i: same[blocks[i].places["mlp_act"].module] for i in self.neurons}
        self.post_norms = {i: blocks[i].mlp_post_norm for i in self.neurons}
        self.scales = [block.places["mlp_out"].scale for block in blocks]
        self.norms = {same[norm.module]: norm for norm in model.structure.norms}
        self.final_norm = same[model.structure.final_norm]
        self.head = model.unembedding().to(next(self.module.parameters()).dtype)
        self.denominators: dict[nn.Module, Tensor] = {}
        self.embedded = torch.empty(0)
        self.mlp_in: list[Tensor] = []
        self.mlp_act: dict[int, Tensor] = {}
        self.stream: dict[str, Tensor] = {}
        self.mlp_out = [torch.empty(0)] * self.num_layers
        self._hooks = ExitStack()
        self._held: dict[int, list[Tensor]] = {}
        self._inside: dict[int, list[Any]] = {}
        self._aside = False
        self._raw: dict[int, Tensor] = {}
        self._removed: Mapping[int | str, Tensor] = {}
        self._read: dict[int | str, Tensor] = {}

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
        self.mlp_act = {i: self._read[f"mlp_act.{i}"] for i in self.neurons}
        self.stream = {site: self._read[site] for site in self.streams}
        self._hooks.enter_context(self._hooked(replay=True))
        return self

    def __exit__(self, *unused: object) -> None:
        self._hooks.close()

    @torch.no_grad()
    def run(self, removed: Mapping[int | str, Tensor], batch: int) -> dict[int | str, Tensor]:
        """A frozen pass with `removed` [batch, pos, d_model] taken out, by layer (-1: embedding) or
        site of the stream.

        Returns every MLP's input by layer, the final norm's output under num_layers, and what is
        read inside MLPs (mlp_act.L) and of the stream by site.
        """
        self._removed, self._read = removed, {}
        self.module(self.tokens.expand(batch, -1), use_cache=False)
        return self._read

    @contextmanager
    def _hooked(self, *, replay: bool) -> Iterator[None]:
        """Every part under hooks that record, or answer as recorded."""
        with self._attention(replay=replay), ExitStack() as stack:

            def before(part: Any, hook: Callable[..., Any]) -> None:
                hook = self._hook(hook)
                stack.callback(part.register_forward_pre_hook(hook, with_kwargs=True).remove)

            def after(part: Any, hook: Callable[..., Any]) -> None:
                hook = self._hook(hook)
                stack.callback(part.register_forward_hook(hook, with_kwargs=True).remove)

            before(self.first, self._remove_embedding if replay else self._keep_embedding)
            for i, (mlp, added) in enumerate(self.mlps):
                before(mlp, partial(self._keep_mlp_in, i))
                after(added, partial(self._replay_mlp if replay else self._keep_mlp_out, i))
            for i, down in self.downs.items():
                before(down, partial(self._keep_act, i))
                if not replay and self.post_norms[i] is not None:
                    after(self.mlps[i][0], partial(self._keep_raw, i))
            for site in self.streams:
                kind, layer = site.split(".")
                if site in self.mixed:
                    before(self.mixed[site], partial(self._before_block, site, replay))
                    continue
                put = before if kind == "resid_pre" else after
                at = self._before_block if kind == "resid_pre" else self._after_block
                put(self.blocks[int(layer)], partial(at, site, replay))
            for norm in self.norms:
                after(norm, self._replay_norm if replay else self._record_norm)
            after(self.final_norm, self._keep_final)
            yield

    @contextmanager
    def _attention(self, *, replay: bool) -> Iterator[None]:
        """Every attention under a mode of its own that records, or answers as recorded."""
        read = [self.blocks[i] for i in self.neurons]
        usual = [part.forward for part, _ in self.holding] + [part.forward for part in read]
        for i, (part, names) in enumerate(self.holding):
            part.forward = self._under(i, usual[i], names, replay)
        for i, part in zip(self.neurons, read, strict=True):
            part.forward = self._linear(i, part.forward, replay)
        try:
            yield
        finally:
            for part, forward in zip([p for p, _ in self.holding] + read, usual, strict=True):
                part.forward = forward

    def _under(
        self, i: int, forward: Callable[..., Any], names: tuple[str, ...], replay: bool
    ) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            kept = self._held.setdefault(i, [])
            with self._apart(), _Replay(names, kept) if replay else _Record(names, kept):
                return forward(*args, **kwargs)

        return run

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """What is computed within it is no part of an MLP."""
        outer, self._aside = self._aside, True
        try:
            yield
        finally:
            self._aside = outer

    def _hook(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with self._apart():
                return hook(*args)

        return run

    def _linear(self, i: int, forward: Callable[..., Any], replay: bool) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            kept = self._inside.setdefault(i, [])
            with _Inside(self, list(kept) if replay else kept, replay):
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

    def _keep_act(self, i: int, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._read[f"mlp_act.{i}"] = self._by_position(_given(args, kwargs))

    def _keep_raw(self, i: int, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._raw[i] = self._by_position(_first(output).clone())

    def neuron(self, i: int, neuron: int, position: int) -> Tensor:
        """What a neuron of an activation of 1 adds to the stream [d_model]."""
        weight: Any = self.downs[i].weight
        row = weight[:, neuron] if isinstance(self.downs[i], nn.Linear) else weight[neuron]
        return self._behind(i, row, position) * self.scales[i]

    def constant(self, i: int, position: int) -> Tensor:
        """What an MLP without neurons adds to the stream [d_model]."""
        bias = getattr(self.downs[i], "bias", None)
        if bias is None:
            return torch.zeros_like(self.mlp_out[i][0, 0])
        return self._behind(i, bias, position) * self.scales[i]

    def _behind(self, i: int, x: Tensor, position: int) -> Tensor:
        form = self.post_norms[i]
        if form is None:
            return x
        size = (self._raw[i][0, position].square().mean() + form.epsilon).sqrt()
        weight: Any = getattr(self.mlps[i][1], "weight", None)
        return x / size if weight is None else x / size * (weight + form.offset)

    def _before_block(
        self, site: str, replay: bool, module: nn.Module, args: Any, kwargs: Any
    ) -> Any:
        x = self._at_stream(site, replay, _given(args, kwargs))
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

    def _after_block(
        self, site: str, replay: bool, module: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> Any:
        x = self._at_stream(site, replay, _first(output))
        return (x, *output[1:]) if isinstance(output, tuple) else x

    def _at_stream(self, site: str, replay: bool, x: Tensor) -> Tensor:
        self._read[site] = x.clone()
        if replay and site in self.undoing:
            change = x - self.stream[site]
            x = x - torch.einsum("bpi,poi->bpo", change, self.undoing[site].to(x))
        return x - self._removed[site] if replay and site in self._removed else x

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


_RATIOS = {"silu", "gelu", "relu", "relu6", "leaky_relu", "elu", "hardswish", "mish"}
_RATIOS |= {"square", "pow"}
_PRODUCTS, _SATURATING = {"mul", "rmul"}, {"sigmoid", "tanh", "erf"}


class _Inside(TorchFunctionMode):
    """A block whose MLP is read inside: records what functions are given and give, or answers by
    the linear map of step 4. Attention has a mode of its own."""

    def __init__(self, frozen: FrozenModel, kept: list[Any], replay: bool) -> None:
        super().__init__()
        self.frozen, self.kept, self.replay = frozen, kept, replay

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "").strip("_")
        known = name in _RATIOS | _PRODUCTS | _SATURATING and isinstance(args[0], Tensor)
        if not known or self.frozen._aside:
            return func(*args, **(kwargs or {}))
        a = args[0].clone()
        b = args[1].clone() if len(args) > 1 and isinstance(args[1], Tensor) else None
        output = func(*args, **(kwargs or {}))
        if not self.replay:
            self.kept.append((a, b, output.clone()))
            return output
        x, y, z = self.kept.pop(0)
        if name in _SATURATING:
            return _rows(z, output)
        if name in _PRODUCTS:
            return output if b is None else _half(a, b, x, y)
        ratio = torch.where(x == 0, torch.zeros_like(z), z / x)
        return a * _rows(ratio, a)


def _half(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The product of a and b, recorded as x and y: where both change the mean of the two products
    with one as recorded."""
    x, y = (k if g.shape == k.shape else _rows(k, g) for g, k in ((a, x), (b, y)))
    return a * b if a.equal(x) or b.equal(y) else 0.5 * (a * y + x * b)


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
