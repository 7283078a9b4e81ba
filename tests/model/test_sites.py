"""Sites are written and read back."""

from __future__ import annotations

from typing import Any

import pytest

from inscape.core import SiteError
from inscape.model import KINDS, Site


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str) -> None:
    site = Site(kind) if kind in ("embed", "final") else Site(kind, 12)
    assert Site.parse(str(site)) == site
    assert Site.parse(site) is site


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resid",
        "resid_post",
        "resid_post.",
        "resid_post.x",
        "resid_post.-1",
        "embed.0",
        "final.2",
        "resid_post.1.2",
        "resid_post.²",
        "resid_post.12345",
        "resid_post." + "9" * 5000,
        None,
        5,
    ],
)
def test_bad_sites_list_the_kinds(text: Any) -> None:
    with pytest.raises(SiteError) as error:
        Site.parse(text)
    assert all(kind in str(error.value) for kind in KINDS)
    assert "\n" not in str(error.value)


def test_sites_are_dictionary_keys() -> None:
    assert {Site("mlp_in", 1): "x"}[Site.parse("mlp_in.1")] == "x"
