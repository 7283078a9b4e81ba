"""A frozen copy of a model, by plain hooks: what an edge is measured on.

1. A float64 copy of the model with eager attention runs the prompt once: the attention patterns
   (softmax's output), the norms' denominators and the MLPs' inputs and outputs are recorded.
2. Frozen passes replay them: z = recorded pattern @ v, with v as it comes out of this pass's own
   projection; norms divide by the recorded denominators; MLPs answer with their recorded outputs,
   to which a linear skip adds what its input's change makes.
3. What is to be removed is taken from an MLP's output or the embedding, batch row by batch row.

Nothing here is shared with the rooms that trace or linearise: only the Hugging Face module is
used, by the names that its own class gives to its parts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inscape.core import ModelError
from inscape.model import Model

LLAMA_LIKE = (
    *("llama", "mistral", "qwen2", "qwen3", "phi3", "olmo2"),
    *("gemma", "gemma2", "gemma3_text"),
)


@dataclass(frozen=True)
class _Layer:
    """One block's modules, by the names that the family's Hugging Face class gives them.

    values: from the output of `value` to values [batch, pos, heads, d_head].
    added: the module whose output the MLP adds to the stream (a post-norm, or the MLP itself);
    norms: every other norm on the stream.
    """

    attention: nn.Module
    value: nn.Module
    values: Callable[[Tensor], Tensor]
    output: nn.Module
    mlp: nn.Module
    added: nn.Module
    norms: tuple[nn.Module, ...]


class FrozenModel:
    """A float64 copy of the model that replays its own clean pass; a context manager."""

    def __init__(
        self, model: Model, token_ids: Sequence[int], skips: Mapping[int, Tensor] | None = None
    ) -> None:
        """`skips`: by layer a map [pos, d_out, d_in], zero where there is none."""
        self.skips = dict(skips or {})
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
            self._add(layer.mlp.register_forward_pre_hook(self._keep_mlp_in(i)))
            self._add(layer.added.register_forward_hook(self._replay_mlp(i)))
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
                    (layer.added, keep(outputs, i, lambda args, out: out)),
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
        epsilon = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
        self.denominators[norm] = (x.square().mean(-1, keepdim=True) + epsilon).sqrt()

    def _replay_norm(self, norm: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        weight = norm.weight + 1.0 if type(norm).__name__.startswith("Gemma") else norm.weight
        result: Tensor = _centred(norm, args[0]) / self.denominators[norm] * weight
        bias: Tensor | None = getattr(norm, "bias", None)
        return result if bias is None else result + bias

    def _keep_value(self, i: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            self._values[i] = self.layers[i].values(output)

        return hook

    def _replay_attention(self, i: int) -> Callable[..., tuple[Tensor]]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            pattern, heads = self.patterns[i], self._values.pop(i).transpose(1, 2)
            heads = heads.repeat_interleave(int(pattern.shape[1]) // int(heads.shape[1]), dim=1)
            mixed = pattern.to(heads) @ heads
            return (mixed.transpose(1, 2).reshape(args[0].shape),)

        return hook

    def _keep_mlp_in(self, i: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self._read[i] = args[0]

        return hook

    def _replay_mlp(self, i: int) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            answer = self.mlp_out[i].expand(output.shape)
            if i in self.skips:
                change = self._read[i] - self.mlp_in[i]
                answer = answer + torch.einsum("bpi,poi->bpo", change, self.skips[i].to(change))
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
    if family in ("gpt2", "gpt_neo"):
        body = module.transformer
        make = _gpt2_layer if family == "gpt2" else _gpt_neo_layer
        return [make(block) for block in body.h], body.drop, body.ln_f
    if family == "gpt_neox":
        body = module.gpt_neox
        layers = [_gpt_neox_layer(block) for block in body.layers]
        return layers, body.emb_dropout, body.final_layer_norm
    if family in LLAMA_LIKE:
        body = module.model
        return [_llama_layer(block) for block in body.layers], body.embed_tokens, body.norm
    raise ModelError(
        f"the edge check has no plain hooks for the family {family!r}",
        expected=f"gpt2, gpt_neo, gpt_neox, {', '.join(LLAMA_LIKE)}",
        next_step="add the names of its modules to validation/frozen.py",
    )


def _heads(d_head: int, part: slice = slice(None)) -> Callable[[Tensor], Tensor]:
    def values(output: Tensor) -> Tensor:
        found = output[..., part]
        return found.reshape(*found.shape[:-1], -1, d_head)

    return values


def _llama_layer(block: Any) -> _Layer:
    """Llama and its kin; with or without norms before, and after, attention and MLP."""
    attention, d_head = block.self_attn, int(block.self_attn.head_dim)
    if hasattr(attention, "qkv_proj"):
        width = attention.config.num_key_value_heads * d_head
        value, values = attention.qkv_proj, _heads(d_head, slice(-width, None))
    else:
        value, values = attention.v_proj, _heads(d_head)
    names = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm")
    norms = tuple(getattr(block, name) for name in names if hasattr(block, name))
    added = getattr(block, "post_feedforward_layernorm", block.mlp)
    return _Layer(attention, value, values, attention.o_proj, block.mlp, added, norms)


def _gpt2_layer(block: Any) -> _Layer:
    attention, mlp, norms = block.attn, block.mlp, (block.ln_1, block.ln_2)
    width = attention.embed_dim
    values = _heads(attention.head_dim, slice(2 * width, 3 * width))
    return _Layer(attention, attention.c_attn, values, attention.c_proj, mlp, mlp, norms)


def _gpt_neo_layer(block: Any) -> _Layer:
    attention, mlp, norms = block.attn.attention, block.mlp, (block.ln_1, block.ln_2)
    values = _heads(attention.head_dim)
    return _Layer(attention, attention.v_proj, values, attention.out_proj, mlp, mlp, norms)


def _gpt_neox_layer(block: Any) -> _Layer:
    attention, mlp = block.attention, block.mlp
    d_head = int(attention.head_size)

    def values(output: Tensor) -> Tensor:  # query, key and value lie side by side in each head
        return output.reshape(*output.shape[:-1], -1, 3 * d_head)[..., 2 * d_head :]

    norms = (block.input_layernorm, block.post_attention_layernorm)
    fused = attention.query_key_value
    return _Layer(attention, fused, values, attention.dense, mlp, mlp, norms)
