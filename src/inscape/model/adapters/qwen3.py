"""Qwen3: llama's layout with normed queries and keys."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(model_type="qwen3")
