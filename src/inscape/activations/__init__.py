"""From a corpus to shuffled batches of activations."""

from inscape.activations.documents import documents
from inscape.activations.harvest import harvest
from inscape.activations.joined import JoinedStores
from inscape.activations.online import OnlineActivations
from inscape.activations.shards import TokenTable
from inscape.activations.speed import Reading, measure_reading
from inscape.activations.statistics import SiteStats
from inscape.activations.store import ActivationStore

__all__ = [
    "ActivationStore",
    "JoinedStores",
    "OnlineActivations",
    "Reading",
    "SiteStats",
    "TokenTable",
    "documents",
    "harvest",
    "measure_reading",
]
