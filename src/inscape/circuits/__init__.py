"""Circuits: which few units carry a behaviour over many prompts, measured on prompts apart."""

from inscape.circuits.behaviour import Behaviour, Outcomes
from inscape.circuits.circuit import Circuit, CircuitMember, circuit
from inscape.circuits.measures import Faithfulness
from inscape.circuits.ranking import Ranking, rank
from inscape.circuits.sets import SETS, Example, draw, read_set
from inscape.circuits.units import Unit, Units

__all__ = [
    "SETS",
    "Behaviour",
    "Circuit",
    "CircuitMember",
    "Example",
    "Faithfulness",
    "Outcomes",
    "Ranking",
    "Unit",
    "Units",
    "circuit",
    "draw",
    "rank",
    "read_set",
]
