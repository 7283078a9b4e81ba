"""LLaVA: a vision tower and a projector before a language model of any causal family."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(model_type="llava", inner="model.language_model")
