"""A Hugging Face causal or image-text language model with named sites."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inscape.core import InputError, ModelError, pick_device
from inscape.model.adapters import Adapter, adapter_for
from inscape.model.fingerprint import module_hash
from inscape.model.forward import Again, Edit, HookedPass, PositionEdit, noting_experts
from inscape.model.generation import check_settings, end_ids, generate
from inscape.model.images import ImageCodec
from inscape.model.inputs import Inputs, Logits, Pass, Run, check_tokens, module_inputs
from inscape.model.inspection import inspect
from inscape.model.language import Language
from inscape.model.linear import Looking, check_linear, linearised
from inscape.model.opening import find_folder, open_folder
from inscape.model.prompt import Prompt, Source
from inscape.model.sites import Site
from inscape.model.text import TextCodec

if TYPE_CHECKING:
    from inscape.dictionary import Dictionary, TokenFeatures


class Model(Language):
    """A language model whose activations can be read, edited and linearised.

    An image-text model is one as well: its sites are those of the language model inside, at
    the positions of patches too.

    Made by `Model.open` (a folder or hub id) or `Model.wrap` (a loaded module). The module
    is put in evaluation mode and its parameters take no gradient. Runs of one model in
    several threads wait for each other.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: Any,
        adapter: Adapter,
        *,
        name: str,
        preprocessing: Mapping[str, Any] | None = None,
        bos: str = "auto",
    ) -> None:
        self.module = module.eval().requires_grad_(False)
        self.name = name
        self.adapter = adapter
        self.structure = inspect(self.module, adapter)
        config = self.structure.config
        self.num_layers, self.d_model = len(self.structure.blocks), self.structure.d_model
        self.vocab_size: int = self.unembedding().shape[0]
        self.context_length: int = getattr(config, "max_position_embeddings", None) or sys.maxsize
        self._text = TextCodec(tokenizer, config, bos, self.vocab_size)
        self._images = ImageCodec(module.config, preprocessing) if adapter.images else None
        self.source: str | None = None  # what opens this model again, from any folder
        self.revision: str | None = None  # the commit of a hub's model
        self._lock = RLock()
        self._standing: dict[Site, list[Edit]] = {}
        self._is_linear = False
        self._linear: Again | None = None

    @classmethod
    def open(
        cls,
        path_or_id: str | Path,
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        trust_remote_code: bool = False,
        bos: str = "auto",
    ) -> Model:
        """Opens a Hugging Face folder, a GGUF file (dequantised once into the user's cache), a hub
        id (from the local cache, else downloaded), or `smollm2`.

        Without `device` a GPU is taken if there is one. Without `dtype` weights are float32
        on the CPU and as stored on a GPU. `revision` is a branch, tag or commit of a hub id. Code
        from the model's folder runs only with `trust_remote_code`. `bos` says when text begins with
        the beginning-of-text token: "auto" (where the tokenizer itself adds it), "always", "never",
        or names the special token that takes its place.

        Raises:
            ModelError: there is no such model, its family is unknown (says how to add it),
                or weights or tokenizer are missing or broken.
        """
        chosen = pick_device(device)
        found = find_folder(path_or_id, revision=revision, trust_remote_code=trust_remote_code)
        opened = open_folder(
            found.folder, device=chosen, dtype=dtype, trust_remote_code=trust_remote_code
        )
        model = cls(
            opened.module,
            opened.tokenizer,
            opened.adapter,
            name=found.name,
            preprocessing=opened.preprocessing,
            bos=bos,
        )
        model.hash, model.source, model.revision = opened.hash, found.source, found.revision
        return model

    @classmethod
    def wrap(
        cls,
        module: nn.Module,
        tokenizer: Any = None,
        name: str = "model",
        *,
        preprocessing: Mapping[str, Any] | None = None,
        bos: str = "auto",
    ) -> Model:
        """Takes a loaded Hugging Face language model as it is, where it is.

        Without a tokenizer everything works that takes token ids. The module itself is
        switched to evaluation mode, and its parameters to taking no gradient. `bos` as in `open`.
        `preprocessing` holds the settings of an image-text model's image processor.

        Raises:
            ModelError: the module is no Hugging Face model, or its family is unknown.
        """
        model_type = getattr(getattr(module, "config", None), "model_type", None)
        if not isinstance(model_type, str):
            raise ModelError(
                f"{type(module).__name__} has no config that names its family",
                expected="a Hugging Face causal language model",
            )
        text_type = getattr(getattr(module.config, "text_config", None), "model_type", None)
        adapter = adapter_for(model_type, text_type)
        return cls(module, tokenizer, adapter, name=name, preprocessing=preprocessing, bos=bos)

    def __repr__(self) -> str:
        return (
            f"Model({self.name!r}, {self.adapter.model_type}, {self.num_layers} layers, "
            f"d_model {self.d_model}, vocabulary {self.vocab_size}, {self.device})"
        )

    @property
    def device(self) -> torch.device:
        """Where token ids go: the device of the embeddings."""
        module: Any = self.module
        device: torch.device = module.get_input_embeddings().weight.device
        return device

    def require_one_device(self, doing: str) -> None:
        """InputError where the weights lie on several devices, whose values `doing` would mix."""
        devices = sorted({str(parameter.device) for parameter in self.module.parameters()})
        if len(devices) > 1:
            raise InputError(
                f"{self.name} lies on several devices ({', '.join(devices)}), on which {doing} is "
                "not supported",
                expected="a model on one device",
                next_step="open it without device_map, or on the CPU",
            )

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the activations."""
        dtype: torch.dtype = next(self.structure.head.parameters()).dtype
        return dtype

    @cached_property
    def hash(self) -> str:
        """sha256 over all weights and the config: the same opened (there of the weights as
        stored) or wrapped."""
        return module_hash(self.module)

    @cached_property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer: those of the config, the generation config and the
        tokenizer, and the special token that the chat template puts behind an answer."""
        return end_ids(self)

    # Sites

    def sites(self) -> list[Site]:
        """Every site of this model, in the order of the computation."""
        blocks = enumerate(self.structure.blocks)
        inner = [Site(kind, layer) for layer, block in blocks for kind in block.places]
        return [Site("embed"), *inner, Site("final")]

    def site(self, text: str | Site) -> Site:
        """The site written as `text`, checked against this model.

        Raises:
            SiteError: unknown kind, layer out of range, or a place that its block does not
                have (`resid_mid` where attention and MLP are parallel).
        """
        site = Site.parse(text)
        self.structure.place(site)
        return site

    def width(self, site: str | Site) -> int:
        """The number of channels at a site: d_model, but for `attn_head` and `mlp_act`."""
        return self.structure.place(Site.parse(site)).width

    def num_heads(self, layer: int) -> int:
        """How many heads lie side by side at `attn_head.L`; 0 where none are seen there."""
        if "attn_head" not in self.structure.blocks[layer].places:
            return 0
        config = self.structure.config
        names = ("num_attention_heads", "num_heads", "n_head")
        found = next((int(getattr(config, name)) for name in names if hasattr(config, name)), 0)
        return found if found and self.width(f"attn_head.{layer}") % found == 0 else 0

    # Running

    def run(
        self,
        tokens: Tensor | Inputs | Prompt,
        *,
        read: Sequence[str | Site] = (),
        edits: Mapping[str | Site, Edit] | Mapping[str, Edit] | Mapping[Site, Edit] | None = None,
        logits: Logits = "none",
        attention_mask: Tensor | None = None,
        grad: bool | Literal["recompute"] = False,
    ) -> Run:
        """One forward pass that reads and edits sites.

        Args:
            tokens: integer ids [batch, pos], these with their pictures, or a prompt.
            read: sites to record.
            edits: site -> function from the site's value [batch, pos, d_model] to its new
                value of the same shape. Everything after it, and the recorded value of the
                site itself, sees the result. An edit of `attn_out` or `mlp_out` changes
                what is added to the stream, an edit of `mlp_in` only what the MLP reads.
            logits: which positions' logits to return. With "none" the pass stops right
                after the last site that is read (without reads: edited).
            attention_mask: [batch, pos], 1 for real tokens; padding may be left or right.
                logits="last" is the last column, padding or not.
            grad: keep the graph, for gradients with respect to what edits put in; "recompute": of
                each block only what enters it, the rest is computed again where it is needed, and
                edits, which are called again then, must give the same.

        Raises:
            SiteError: a site is not one of this model's.
            InputError: tokens out of shape or range, or an edit that changes the shape.
        """
        if logits not in ("none", "last", "all"):
            raise InputError(f"logits={logits!r}", expected="none, last or all")
        reads, chains = [self.site(site) for site in read], self._chains(edits)
        given = self.checked(tokens)
        if logits == "none" and not reads and not chains:
            return Run()
        now = self.passing(given) if chains else None
        hooked = HookedPass(self.structure, reads, chains, stop=logits == "none", now=now)
        inputs = module_inputs(given.tokens, attention_mask, logits)
        if given.pixel_values is not None:
            inputs["pixel_values"] = given.pixel_values
        again = self._repeat() if grad == "recompute" else None
        with self._evaluating(), torch.enable_grad() if grad else torch.no_grad():
            output = hooked(lambda: self.module(**inputs), again)
        wanted = None if logits == "none" else output.logits.float()
        acts = {site: hooked.acts[site] for site in reads}
        hooked.acts.clear()  # a graph that computes blocks again holds the pass
        return Run(acts, wanted)

    def experts(self, tokens: Tensor | Inputs | Prompt) -> dict[int, Int[Tensor, "batch pos k"]]:
        """The numbers of the experts that each token goes to, by layer; only of mixtures.

        Raises:
            InputError: tokens out of shape or range.
        """
        given = self.checked(tokens)
        with noting_experts(self.structure, given.tokens.shape) as chosen:
            self.run(given, logits="last")
        return chosen

    def generate(
        self,
        tokens: Tensor | Inputs | Prompt,
        max_new_tokens: int,
        *,
        edits: Mapping[str | Site, Edit] | Mapping[str, Edit] | Mapping[Site, Edit] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Int[Tensor, "batch total"]:
        """Continues a prompt, or `tokens` [batch, pos] with or without pictures; returns token
        ids [batch, pos + new], prompt included.

        Rows are of one length, without padding. Greedy at temperature 0, else sampled with
        `seed`. A key-value cache is used without edits and under each `PositionEdit`; any other
        edit is given the whole text anew at every step. Ends early when every row has ended
        (see `end_ids`); a row that has ended goes on with its end-of-text token.

        Raises:
            InputError: tokens out of shape or range, no room left in the context, or logits
                that are not finite (says at which token).
        """
        check_settings(max_new_tokens, temperature, seed)
        given, chains = self.checked(tokens, room=max_new_tokens), self._chains(edits)
        with self._evaluating():
            return generate(
                self, given, max_new_tokens, edits=chains, temperature=temperature, seed=seed
            )

    def features(self, prompt: Source, dictionary: Dictionary) -> TokenFeatures:
        """The features of a dictionary at each token of a prompt, to be looked at."""
        given = self.prompt(prompt)
        run = self.run(given, read=dictionary.reads)
        parts = {site: run[site][0] for site in dictionary.reads}
        return dictionary.view(given.texts, given.counted.tolist(), parts)

    def passing(self, given: Inputs, offset: int = 0, length: int | None = None) -> Pass:
        """What edits are given of a pass over checked inputs (see Pass)."""
        counted = given.counted() if callable(given.counted) else given.counted
        mask = self.is_word(given.tokens)
        if counted is not None:
            mask[:, : counted.shape[1]] = counted.to(mask.device)
        return Pass(mask, offset, length or mask.shape[1])

    def _chains(self, edits: Mapping[Any, Edit] | None) -> dict[Site, list[Edit]]:
        chains = {site: list(standing) for site, standing in self._standing.items()}
        if not isinstance(edits, Mapping | None):
            raise InputError(f"edits of type {type(edits).__name__}", expected="site -> function")
        for site, edit in (edits or {}).items():
            if not callable(edit.function if isinstance(edit, PositionEdit) else edit):
                raise InputError(f"the edit of {site} is {edit!r}", expected="a function")
            chains.setdefault(self.site(site), []).append(edit)
        return chains

    @contextmanager
    def standing_edits(self, edits: Mapping[Site, Edit]) -> Iterator[None]:
        """Within it, every run is under these edits, before those of its own."""
        former = self._standing
        self._standing = self._chains(edits)
        try:
            yield
        finally:
            self._standing = former

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """One run at a time, without dropout: the owner of a wrapped module may train it."""
        with self._lock:
            training = [part for part in self.module.modules() if part.training]
            try:
                for part in training:
                    part.training = False
                yield
            finally:
                for part in training:
                    part.training = True

    @contextmanager
    def linearised(
        self, *, mlps: Collection[int] = (), looking: Mapping[int, list[Looking]] | None = None
    ) -> Iterator[None]:
        """Within it, runs have their usual values and the gradients of a linear map:
        attention patterns and norm denominators are held, and none crosses an MLP but those of
        the layers `mlps`, which are made linear; raises as `check_traceable`. looking: by layer a
        list that is given what its attention compares."""
        self.check_traceable()
        former, self._linear = self._linear, partial(linearised, self.module, self.structure, mlps)
        try:
            with self._evaluating(), linearised(self.module, self.structure, mlps, looking):
                yield
        finally:
            self._linear = former

    def _repeat(self) -> Again:
        """What runs are in now, to be entered again."""
        linear = self._linear

        @contextmanager
        def again() -> Iterator[None]:
            with self._evaluating(), linear() if linear is not None else nullcontext():
                yield

        return again

    def check_traceable(self) -> None:
        """Refuses a model through which no exact attribution passes; looked at once.

        Raises:
            ModelError: what is left of some block is not linear (names it and says why).
        """
        with self._evaluating():
            if not self._is_linear:
                check_linear(self.module, self.structure)
            self._is_linear = True

    # Weights

    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """The head's weight [vocab, d_model]: logits are `final` times its transpose
        plus a bias if the head has one (gemma2 bends them by a soft cap afterwards: see
        `unembed`)."""
        weight: Tensor = self.structure.head.weight.detach()  # type: ignore[operator]
        scale = self.structure.logit_scale
        return weight if scale == 1 else scale * weight

    def unembed(self, final: Float[Tensor, "*pos d_model"]) -> Float[Tensor, "*pos vocab"]:
        """The logits, float32 [..., vocab], of values [..., d_model] of the site `final`."""
        if not isinstance(final, Tensor) or final.shape[-1:] != (self.d_model,):
            found = tuple(final.shape) if isinstance(final, Tensor) else type(final).__name__
            raise InputError(f"values of {found}", expected=f"a tensor [..., {self.d_model}]")
        logits: Tensor = self.structure.logit_scale * self.structure.head(final.to(self.dtype))
        cap = self.structure.soft_cap
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits.float()

    def final_norm_weight(self) -> Float[Tensor, " d_model"]:
        """What the last norm multiplies with, float32 [d_model] (for gemma 1 + weight)."""
        final = self.structure.final
        weight = None if final is None else final.weight
        return torch.ones(self.d_model, device=self.device) if weight is None else weight.detach()

    # Checks

    def checked(self, inputs: Tensor | Inputs | Prompt, room: int = 0) -> Inputs:
        """Token ids and pixel values, if any, on the model's device."""
        inputs = inputs.inputs if isinstance(inputs, Prompt) else inputs
        given = inputs if isinstance(inputs, Inputs) else Inputs(inputs)
        tokens, pixels = given.tokens, given.pixel_values
        check_tokens(tokens, room, self.name, self.context_length, self.vocab_size)
        if self._images is not None:
            self._images.check(tokens, pixels)
        elif pixels is not None:
            raise InputError(f"{self.name} reads no pictures", expected="an image-text model")
        later = tokens.is_pinned()  # the copy need not be waited for
        tokens = tokens.to(device=self.device, dtype=torch.long, non_blocking=later)
        pixels = None if pixels is None else pixels.to(self.device, self.dtype)
        return replace(given, tokens=tokens, pixel_values=pixels)
