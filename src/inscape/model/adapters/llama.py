"""Llama: the layout that the adapter's defaults describe."""

from inscape.model.adapters.base import Adapter

ADAPTER = Adapter(model_type="llama")
