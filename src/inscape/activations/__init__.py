"""From a corpus to shuffled batches of activations."""

from inscape.activations.documents import corpus_files, documents, on_disk
from inscape.activations.harvest import harvest
from inscape.activations.joined import JoinedStores
from inscape.activations.online import OnlineActivations
from inscape.activations.sampling import sample_text
from inscape.activations.shards import TokenTable
from inscape.activations.statistics import SiteStats
from inscape.activations.store import ActivationStore
from inscape.activations.tensors import TensorActivations
from inscape.activations.texts import TextActivations

__all__ = [
    "ActivationStore",
    "JoinedStores",
    "OnlineActivations",
    "SiteStats",
    "TensorActivations",
    "TextActivations",
    "TokenTable",
    "corpus_files",
    "documents",
    "harvest",
    "on_disk",
    "sample_text",
]
