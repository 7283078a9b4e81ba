"""Dictionaries of sparse features: encode, decode, store; the kernels are in `kernels/`."""

from inscape.dictionary.code import Code, RaggedCode
from inscape.dictionary.config import DictionaryConfig, joined, single_sites
from inscape.dictionary.dictionary import Dictionary
from inscape.dictionary.encoder import Above, Encoder, TopSlots
from inscape.dictionary.published import local
from inscape.dictionary.wiring import CrossLayer

__all__ = [
    "Above",
    "Code",
    "CrossLayer",
    "Dictionary",
    "DictionaryConfig",
    "Encoder",
    "RaggedCode",
    "TopSlots",
    "joined",
    "local",
    "single_sites",
]
