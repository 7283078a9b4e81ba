"""Labels: short phrases for features, written from some documents and scored on others."""

from inscape.labels.answers import Limits
from inscape.labels.asking import Estimate
from inscape.labels.embedder import Embedder
from inscape.labels.endpoint import Asked, Endpoint, LocalModel
from inscape.labels.families import Family, Part, families
from inscape.labels.labeller import label
from inscape.labels.map import FEWEST, FeatureMap, mappable, write_map
from inscape.labels.meaning import Meaning, write_meanings
from inscape.labels.others import compared
from inscape.labels.published import Published, read_published
from inscape.labels.sampling import document_halves
from inscape.labels.search import Searched, search
from inscape.labels.store import Label, Labels
from inscape.labels.vocabulary import Vocabulary
from inscape.labels.words import Words

__all__ = [
    "FEWEST",
    "Asked",
    "Embedder",
    "Endpoint",
    "Estimate",
    "Family",
    "FeatureMap",
    "Label",
    "Labels",
    "Limits",
    "LocalModel",
    "Meaning",
    "Part",
    "Published",
    "Searched",
    "Vocabulary",
    "Words",
    "compared",
    "document_halves",
    "families",
    "label",
    "mappable",
    "read_published",
    "search",
    "write_map",
    "write_meanings",
]
