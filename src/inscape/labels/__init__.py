"""Labels: short phrases for features, written from some documents and scored on others."""

from inscape.labels.embedder import Embedder
from inscape.labels.sampling import document_halves
from inscape.labels.store import Label, Labels, search
from inscape.labels.words import Words

__all__ = ["Embedder", "Label", "Labels", "Words", "document_halves", "search"]
