from __future__ import annotations

import pytest

from inscape.core import InputError, InscapeError, SiteError, StorageError


def test_an_error_is_one_line_with_what_was_expected_and_what_to_do() -> None:
    error = SiteError("site 'x.9'\nis unknown", expected="one of a, b", next_step="look again")
    assert str(error) == "site 'x.9' is unknown; expected one of a, b; look again"
    assert (error.expected, error.next_step) == ("one of a, b", "look again")


@pytest.mark.parametrize("kind", [InputError, SiteError, StorageError])
def test_every_kind_is_an_inscape_error(kind: type[InscapeError]) -> None:
    assert issubclass(kind, InscapeError)
    assert str(kind("only what")) == "only what"
