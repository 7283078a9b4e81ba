"""Every public function runs with the model on a GPU, and the dictionary there or on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.attribution.random_transcoders import random_transcoders
from tests.diagnosis.planted import PLANTED, SITE, Planted, planted
from tests.fake_device import FAKE, model_on_fake
from torch import nn

from inscape.activations import harvest
from inscape.atlas import Atlas
from inscape.attribution import trace
from inscape.core import InputError
from inscape.diagnosis import diagnose
from inscape.diagnosis.mask import masked_logits
from inscape.diagnosis.study import study_failures
from inscape.dictionary import Dictionary
from inscape.features import build_index
from inscape.intervention import FeatureEdit, fidelity, splice, steer


@pytest.fixture(scope="module")
def fault() -> Planted:
    made = planted()
    model_on_fake(made.model)
    assert made.model.device == FAKE
    return made


@pytest.fixture(scope="module", params=["fake", "cpu"])
def dictionary(fault: Planted, request: pytest.FixtureRequest) -> Dictionary:
    return fault.dictionary.to(request.param)


def test_diagnose(fault: Planted, dictionary: Dictionary) -> None:
    found = diagnose(
        fault.model,
        [dictionary],
        fault.failing[:6],
        controls=fault.right[:6],
        judged_on={"others": fault.failing[6:]},
        num_random=3,
    )
    assert found.removed[0].feature == PLANTED


@pytest.mark.parametrize("doing", ["diagnose", "steer", "fidelity", "index", "trace", "splice"])
def test_a_model_on_several_devices_is_refused(doing: str, tmp_path: Path) -> None:
    made = planted()
    model, one = made.model, made.dictionary
    norm = model.structure.final_norm
    norm.weight = nn.Parameter(norm.weight.detach().to(FAKE), requires_grad=False)
    prompt = made.failing[0].prompt
    use: dict[str, Callable[[], object]] = {
        "diagnose": lambda: diagnose(model, [one], made.failing),
        "steer": lambda: steer(model, prompt, [FeatureEdit(one, PLANTED, "add", 2.0)], 3),
        "fidelity": lambda: fidelity(model, one, [torch.ones(2, 8, dtype=torch.long)]),
        "index": lambda: build_index(model, one, ["the cat sat"], tmp_path / "index"),
        "trace": lambda: trace(model, prompt, {}),
        "splice": lambda: splice(model, one),
    }
    with pytest.raises(InputError, match=r"lies on several devices \(cpu, fake:0\)") as error:
        use[doing]()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_learned_mask(fault: Planted, dictionary: Dictionary) -> None:
    batch = study_failures(fault.model, [dictionary], fault.failing[:2], 0)[2].failures
    taken = torch.zeros(dictionary.d_dict, device=FAKE, requires_grad=True)
    logits = masked_logits(fault.model, [dictionary], [taken], batch)
    torch.autograd.backward(logits[:, fault.wrong].sum())
    assert taken.grad is not None
    assert float(taken.grad[PLANTED]) < 0


def test_trace(fault: Planted, dictionary: Dictionary) -> None:
    moved = {k: t.to(dictionary.device) for k, t in random_transcoders(fault.model).items()}
    assert trace(fault.model, fault.failing[0].prompt, moved).edges


@pytest.mark.parametrize("mode", ["ablate", "clamp", "add", "scale"])
def test_steer(fault: Planted, dictionary: Dictionary, mode: str) -> None:
    change = FeatureEdit(dictionary, PLANTED, mode, 2.0)  # type: ignore[arg-type]
    result = steer(fault.model, fault.failing[0].prompt, [change], 3)
    assert result.changed or mode in ("scale", "ablate")


def test_an_atlas_brings_its_dictionaries_where_its_model_is(tmp_path: Path) -> None:
    """Asked for before the model or after it: a dictionary follows the model."""
    fault = planted()
    made = Atlas.create(tmp_path / "a", fault.model, source="nowhere").add(fault.dictionary)
    found = Atlas.open(made.path)
    early = found.dictionary(made.dictionary_names[0])
    assert early.device == torch.device("cpu")
    model_on_fake(fault.model)
    found.__dict__["model"] = fault.model  # opened after the dictionary
    assert found.dictionary(made.dictionary_names[0]).device == FAKE
    assert found.diagnose(fault.failing[:3], num_random=2, save=False).removed


def test_fidelity(fault: Planted, dictionary: Dictionary) -> None:
    tokens = torch.randint(3, 90, (2, 8), generator=torch.Generator().manual_seed(0))
    counted = torch.ones(2, 8, dtype=torch.bool)
    assert fidelity(fault.model, dictionary, [(tokens, counted)]).l0 > 0


def test_harvest_and_features(fault: Planted, dictionary: Dictionary, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(["the cat sat on the mat", "the dog sat in Paris"] * 9))
    store = harvest(fault.model, text, [SITE], tmp_path / "store")
    index = build_index(fault.model, dictionary, store, tmp_path / "index")
    assert index.num_active.sum() > 0
