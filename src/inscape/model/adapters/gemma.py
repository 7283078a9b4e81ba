"""Gemma: llama's layout, norms that store weight - 1, embeddings scaled in their module."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(model_type="gemma", norm_offset=1.0)
