"""Dictionaries of sparse features: encode, decode, store; the kernels are in `kernels/`."""

from inscape.dictionary.code import Code, DenseCode, RaggedCode
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.dictionary import Dictionary
from inscape.dictionary.encoder import Above, Encoder, TopSlots, half_is_faster

__all__ = [
    "Above",
    "Code",
    "DenseCode",
    "Dictionary",
    "DictionaryConfig",
    "Encoder",
    "RaggedCode",
    "TopSlots",
    "half_is_faster",
]
