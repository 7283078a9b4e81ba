"""Labels: short phrases for features, written from some documents and scored on others."""

from inscape.labels.embedder import Embedder
from inscape.labels.labeller import label
from inscape.labels.meaning import Meaning, write_meanings
from inscape.labels.predicates import Clause, Predicate
from inscape.labels.sampling import document_halves
from inscape.labels.search import Searched, search
from inscape.labels.store import Label, Labels
from inscape.labels.words import Words

__all__ = [
    "Clause",
    "Embedder",
    "Label",
    "Labels",
    "Meaning",
    "Predicate",
    "Searched",
    "Words",
    "document_halves",
    "label",
    "search",
    "write_meanings",
]
