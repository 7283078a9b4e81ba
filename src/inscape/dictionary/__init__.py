"""Dictionaries of sparse features: encode, decode, store; the kernels are in `kernels/`."""

from inscape.dictionary.code import Code, DenseCode, RaggedCode
from inscape.dictionary.config import DictionaryConfig, check_name, joined, single_sites
from inscape.dictionary.dictionary import Dictionary, is_dictionary, refuse_not_finite
from inscape.dictionary.encoder import Above, Encoder, TopSlots, half_is_faster
from inscape.dictionary.neurons import neurons
from inscape.dictionary.published import local
from inscape.dictionary.view import TokenFeatures
from inscape.dictionary.wiring import CrossLayer

__all__ = [
    "Above",
    "Code",
    "CrossLayer",
    "DenseCode",
    "Dictionary",
    "DictionaryConfig",
    "Encoder",
    "RaggedCode",
    "TokenFeatures",
    "TopSlots",
    "check_name",
    "half_is_faster",
    "is_dictionary",
    "joined",
    "local",
    "neurons",
    "refuse_not_finite",
    "single_sites",
]
