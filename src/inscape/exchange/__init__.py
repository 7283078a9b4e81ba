"""Dictionaries of other libraries: read into ours, and ours written for them."""

from __future__ import annotations

from inscape.dictionary import Dictionary
from inscape.exchange.format import Asked, Format
from inscape.exchange.published import open_foreign, open_set
from inscape.exchange.registry import FORMATS, export_dictionary, import_dictionary

Dictionary.foreign, Dictionary.foreign_set = open_foreign, open_set

__all__ = [
    "FORMATS",
    "Asked",
    "Dictionary",
    "Format",
    "export_dictionary",
    "import_dictionary",
    "open_set",
]
