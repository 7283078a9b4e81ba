"""Dictionaries of sparse features: encode, decode, store; the kernels are in `kernels/`."""

from inscape.dictionary.code import Code
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.dictionary import Dictionary
from inscape.dictionary.topk import TopKEncoder

__all__ = ["Code", "Dictionary", "DictionaryConfig", "TopKEncoder"]
