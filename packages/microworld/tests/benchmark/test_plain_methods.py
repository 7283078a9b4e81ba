"""The plain methods that a diagnosis is compared with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.diagnosis.planted import SITE, Planted, planted

from inscape.diagnosis import shares
from inscape.diagnosis.cases import encode
from inscape_microworld.benchmark.plain_methods import CAUSES, baselines


@pytest.fixture(scope="module")
def fault() -> Planted:
    return planted()


def test_plain_methods_find_the_trigger(fault: Planted) -> None:
    batch = encode(fault.model, fault.failing[:2])
    last = int(batch.starts[0]) - 1
    assert int(CAUSES["leave one token out"](fault.model, batch)[0]) == last
    mean = torch.zeros(fault.model.d_model)
    found = baselines(fault.model, SITE, mean, fault.failing[:3], {"all": fault.failing[:3]})
    assert [b.name for b in found] == [
        "leave one token out",
        "input × gradient",
        "the wrong answer's own direction",
    ]
    assert all(b.after["all"].total == 3 for b in found)
    before = shares(fault.model, {"all": fault.failing[:3]})["all"]
    assert found[2].after["all"].value > before.value


def test_each_case_has_a_direction_of_its_own(fault: Planted) -> None:
    """What one case gains does not depend on which other cases stand before it."""
    cases = [replace(case) for case in fault.failing[:4]]
    mean = torch.zeros(fault.model.d_model)

    def repaired(order: list[int]) -> int:
        chosen = [cases[i] for i in order]
        return baselines(fault.model, SITE, mean, chosen, {"all": chosen})[2].after["all"].count

    assert repaired([0, 1, 2, 3]) == repaired([3, 2, 1, 0]) == repaired([2, 0, 3, 1])
