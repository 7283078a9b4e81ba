"""Mistral: llama's layout with a sliding window."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(model_type="mistral")
