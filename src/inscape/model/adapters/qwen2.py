"""Qwen2: llama's layout with biased projections."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(model_type="qwen2")
