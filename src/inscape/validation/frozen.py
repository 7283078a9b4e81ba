"""A frozen copy of a model, by plain hooks: what an edge is measured on.

1. A float64 copy of the model with eager attention runs the prompt once: the attention patterns
   (softmax's output), the norms' denominators and the MLPs' inputs and outputs are recorded.
2. Frozen passes replay them: z = recorded pattern @ v, with v as it comes out of this pass's own
   projection; norms divide by the recorded denominators; MLPs answer with their recorded outputs.
3. What is to be removed is taken from an MLP's output or the embedding, batch row by batch row.

Nothing here is shared with the rooms that trace or linearise: only the Hugging Face module is
used, by the names that its own class gives to its parts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inscape.core import ModelError
from inscape.model import Model

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class _Layer:
    """One block's modules, by the names that the family's Hugging Face class gives them."""

    attention: nn.Module
    value: nn.Module
    output: nn.Module
    mlp: nn.Module
    norms: tuple[nn.Module, ...]
    value_part: slice | None


class FrozenModel:
    """A float64 copy of the model that replays its own clean pass; a context manager."""

    def __init__(self, model: Model, token_ids: Sequence[int]) -> None:
        self.module = _copy(model)
        self.num_layers = model.num_layers
        self.tokens = torch.tensor([list(token_ids)], device=model.device)
        self.layers, self.embedding, self.final_norm = _find(self.module)
        self.head: Tensor = self.module.get_output_embeddings().weight.detach()
        self.patterns: dict[int, Tensor] = {}
        self.denominators: dict[nn.Module, Tensor] = {}
        self.embedded = torch.empty(0)
        self.mlp_in: list[Tensor] = []
        self.mlp_out: list[Tensor] = []
        self._hooks = ExitStack()
        self._removed: dict[int, Tensor] = {}
        self._read: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    def __enter__(self) -> FrozenModel:
        self._record()
        for i, layer in enumerate(self.layers):
            self._add(layer.value.register_forward_hook(self._keep_value(i)))
            self._add(layer.output.register_forward_pre_hook(self._replay_attention(i)))
            self._add(layer.mlp.register_forward_hook(self._replay_mlp(i)))
        for norm in self.denominators:
            self._add(norm.register_forward_hook(self._replay_norm))
        self._add(self.embedding.register_forward_hook(self._remove_embedding))
        self._add(self.final_norm.register_forward_hook(self._keep_final))
        return self

    def __exit__(self, *unused: object) -> None:
        self._hooks.close()

    def _add(self, handle: Any) -> None:
        self._hooks.callback(handle.remove)

    @torch.no_grad()
    def run(self, removed: dict[int, Tensor], batch: int) -> dict[int, Tensor]:
        """A frozen pass with `removed` [batch, pos, d_model] taken out per layer (-1: embedding).

        Returns every MLP's input by layer, and the final norm's output under num_layers.
        """
        self._removed, self._read = removed, {}
        self.module(self.tokens.expand(batch, -1), use_cache=False)
        return self._read

    @torch.no_grad()
    def _record(self) -> None:
        inputs: dict[int, Tensor] = {}
        outputs: dict[int, Tensor] = {}

        def keep(store: dict[int, Tensor], i: int, pick: Callable[[Any, Any], Any]) -> Any:
            def hook(module: nn.Module, args: Any, output: Any) -> None:
                store[i] = pick(args, output).detach().clone()

            return hook

        embedded: dict[int, Tensor] = {}
        with ExitStack() as stack:
            for i, layer in enumerate(self.layers):
                for module, hook in (
                    (layer.mlp, keep(inputs, i, lambda args, out: args[0])),
                    (layer.mlp, keep(outputs, i, lambda args, out: out)),
                    (layer.attention, keep(self.patterns, i, lambda args, out: out[1])),
                ):
                    stack.callback(module.register_forward_hook(hook).remove)
            for norm in [*(n for layer in self.layers for n in layer.norms), self.final_norm]:
                stack.callback(norm.register_forward_hook(self._record_norm).remove)
            hook = keep(embedded, 0, lambda args, out: out)
            stack.callback(self.embedding.register_forward_hook(hook).remove)
            self.module(self.tokens, use_cache=False)
        self.embedded = embedded[0]
        self.mlp_in = [inputs[i] for i in range(self.num_layers)]
        self.mlp_out = [outputs[i] for i in range(self.num_layers)]

    def _record_norm(self, norm: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
        x = _centred(norm, args[0])
        epsilon = norm.eps if isinstance(norm, nn.LayerNorm) else norm.variance_epsilon
        self.denominators[norm] = (x.square().mean(-1, keepdim=True) + epsilon).sqrt()

    def _replay_norm(self, norm: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        result: Tensor = _centred(norm, args[0]) / self.denominators[norm] * norm.weight
        bias: Tensor | None = getattr(norm, "bias", None)
        return result if bias is None else result + bias

    def _keep_value(self, i: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            part = self.layers[i].value_part
            self._values[i] = output if part is None else output[..., part]

        return hook

    def _replay_attention(self, i: int) -> Callable[..., tuple[Tensor]]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            pattern, value = self.patterns[i], self._values.pop(i)
            batch, num_pos = int(value.shape[0]), int(value.shape[1])
            num_heads = int(pattern.shape[1])
            d_head = int(args[0].shape[-1]) // num_heads
            heads = value.reshape(batch, num_pos, -1, d_head).transpose(1, 2)
            heads = heads.repeat_interleave(num_heads // int(heads.shape[1]), dim=1)
            mixed = pattern @ heads
            return (mixed.transpose(1, 2).reshape(args[0].shape),)

        return hook

    def _replay_mlp(self, i: int) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            self._read[i] = args[0]
            answer = self.mlp_out[i].expand(output.shape)
            return answer - self._removed[i] if i in self._removed else answer

        return hook

    def _remove_embedding(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output - self._removed[-1] if -1 in self._removed else output

    def _keep_final(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self._read[self.num_layers] = output


def _centred(norm: nn.Module, x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x


def _copy(model: Model) -> Any:
    module: Any = copy.deepcopy(model.module).double()
    module.set_attn_implementation("eager")
    return module


def _find(module: Any) -> tuple[list[_Layer], nn.Module, nn.Module]:
    """The layers, the embedding (whose output may be taken from) and the last norm."""
    family = module.config.model_type
    if family in LLAMA_LIKE:
        blocks = module.model.layers
        return [_llama_layer(b) for b in blocks], module.model.embed_tokens, module.model.norm
    if family == "gpt2":
        body = module.transformer
        return [_gpt2_layer(b) for b in body.h], body.drop, body.ln_f
    raise ModelError(
        f"the edge check has no plain hooks for the family {family!r}",
        expected=f"gpt2, {', '.join(LLAMA_LIKE)}",
        next_step="add the family's module names to validation/edges.py",
    )


def _llama_layer(block: Any) -> _Layer:
    attention = block.self_attn
    norms = (block.input_layernorm, block.post_attention_layernorm)
    return _Layer(attention, attention.v_proj, attention.o_proj, block.mlp, norms, None)


def _gpt2_layer(block: Any) -> _Layer:
    attention = block.attn
    width = attention.embed_dim
    part = slice(2 * width, 3 * width)
    norms = (block.ln_1, block.ln_2)
    return _Layer(attention, attention.c_attn, attention.c_proj, block.mlp, norms, part)
