"""From a corpus to shuffled batches of activations."""

from inscape.activations.documents import documents
from inscape.activations.harvest import harvest
from inscape.activations.held import HeldActivations
from inscape.activations.joined import JoinedStores
from inscape.activations.online import OnlineActivations
from inscape.activations.shards import TokenTable
from inscape.activations.statistics import SiteStats
from inscape.activations.store import ActivationStore
from inscape.activations.tensors import TensorActivations

__all__ = [
    "ActivationStore",
    "HeldActivations",
    "JoinedStores",
    "OnlineActivations",
    "SiteStats",
    "TensorActivations",
    "TokenTable",
    "documents",
    "harvest",
]
