"""The features of a prompt, token by token."""

from __future__ import annotations

import torch
from tests.dictionary.test_dictionary import make


def test_tokens_and_their_features() -> None:
    x = torch.randn((3, 8), generator=torch.Generator().manual_seed(4))
    one = make()
    found = one.view(["<s>", " a", "<b>"], [False, True, True], {"resid_post.1": x})
    code = one.encode(x).dense(40)
    assert found.at(1) == [
        (int(f), float(code[1, f])) for f in code[1].argsort(descending=True)[:4]
    ]
    assert found.at(2, 1) == found.at(2)[:1]
    best = code[1:].max(0)
    wanted = [(int(f), float(best.values[f])) for f in best.values.argsort(descending=True)[:3]]
    assert [(feature, value) for feature, value, _ in found.top(3)] == wanted
    assert [position for _, _, position in found.top(3)] == [
        1 + int(best.indices[f]) for f, _ in wanted
    ]
    shown, page = repr(found), found._repr_html_()
    assert shown.splitlines()[1] == "'<s>'"  # it does not count
    assert f"{found.at(1)[0][0]} (" in shown.splitlines()[2]
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
