"""Dictionaries of sparse features: encode, decode, store; the kernels are in `kernels/`."""

from inscape.dictionary.code import Code, RaggedCode
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.dictionary import Dictionary
from inscape.dictionary.encoder import Above, Encoder, TopSlots, chunk_rows

__all__ = [
    "Above",
    "Code",
    "Dictionary",
    "DictionaryConfig",
    "Encoder",
    "RaggedCode",
    "TopSlots",
    "chunk_rows",
]
