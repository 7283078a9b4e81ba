"""Where the heads of a circuit look, by role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from inscape.attribution import patterns
from inscape.circuits.behaviour import Behaviour
from inscape.circuits.units import Unit
from inscape.core import ModelError

NUM_PROMPTS = 12


def looks(behaviour: Behaviour, units: Sequence[Unit]) -> dict[Unit, dict[str, float]]:
    """For each head the mean attention, from the tokens of its role, on the tokens of every role;
    nothing for models whose attention cannot be seen."""
    heads = [unit for unit in units if unit.kind == "head"]
    layers = {unit.layer for unit in heads}
    total: dict[Unit, dict[str, float]] = {unit: defaultdict(float) for unit in heads}
    count: dict[Unit, int] = defaultdict(int)
    rows = [(batch, n) for batch in behaviour.batches for n in range(len(batch))]
    step = max(1, len(rows) // NUM_PROMPTS)
    for batch, n in rows[::step] if heads else ():
        try:
            seen = patterns(behaviour.model, batch.tokens[n : n + 1], layers)
        except ModelError:
            return {}
        for unit in heads:
            if unit.layer not in seen or unit.role not in batch.roles:
                continue
            here = seen[unit.layer][unit.index][batch.roles[unit.role][n]]
            if not len(here):
                continue
            count[unit] += 1
            for role, mask in batch.roles.items():
                total[unit][role] += float(here[:, mask[n]].sum(1).mean())
    return {
        unit: {role: value / count[unit] for role, value in total[unit].items()}
        for unit in heads
        if count[unit]
    }
