"""What is no dictionary, no activations or no code is named, with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from inscape.core import InputError
from inscape.dictionary import (
    Code,
    Dictionary,
    DictionaryConfig,
    TokenFeatures,
    check_name,
    neurons,
    single_sites,
)

SHAPE = DictionaryConfig(
    site_in="resid_post.0",
    site_out="resid_post.0",
    d_in=4,
    d_out=4,
    d_dict=6,
    k=2,
    subtract_b_dec=True,
)
WEIGHTS = {name: torch.ones(size) for name, size in SHAPE.shapes().items()}
IT = Dictionary(SHAPE, WEIGHTS, name="it")
X = torch.eye(4)
CODE = IT.encode(X)
FOREIGN = Code(torch.full((4, 2), 9), torch.ones(4, 2))
VIEW = TokenFeatures("it", list("abcd"), [True] * 4, CODE)

CASES: list[tuple[Callable[[Any], Any], Any, str]] = [
    (Dictionary.open, 5, "a dictionary at 5; expected a path"),
    (Dictionary.open, None, "a dictionary at None; expected a path"),
    (Dictionary.open_set, 5, "dictionaries at 5; expected a path"),
    (IT.save, None, "a dictionary's folder None; expected a path"),
    (lambda c: Dictionary(c, WEIGHTS), {"k": 2}, "a DictionaryConfig"),
    (lambda w: Dictionary(SHAPE, w), None, "weights None; expected tensors"),
    (lambda w: Dictionary(SHAPE, {**WEIGHTS, "W_enc": w}), [1.0], "W_enc of dictionary: [1.0]"),
    (IT.encode, None, "activations given to it: None; expected a tensor of width 4"),
    (IT.encode, [[1.0]], "activations given to it: [[1.0]]; expected a tensor"),
    (IT.encode, torch.ones(2, 5), "activations of width 5 given to it; expected width 4"),
    (IT.encode, torch.tensor(1.0), "activations of shape () given to it; expected width 4"),
    (IT, "abc", "activations given to it: 'abc'"),
    (IT, torch.ones(2, 5), "activations of width 5 given to it"),
    (IT, torch.tensor(1.0), "activations of shape () given to it"),
    (IT.base, torch.ones(2, 5), "activations of width 5"),
    (lambda c: IT.decode(c, X), "abc", "a code given to it: 'abc'; expected a Code"),
    (lambda c: IT.decode(c, X), None, "a code given to it: None"),
    (lambda c: IT.decode(c, X), FOREIGN, "feature 9 given to it; expected features below 6"),
    (lambda x: IT.decode(CODE, x), torch.ones(3, 4), "shape (3, 4) to a code of 4 rows"),
    (lambda x: IT.decode(CODE, x), torch.ones(4, 3), "activations of width 3"),
    (lambda x: IT.decode(CODE, x), 7, "activations given to it: 7"),
    (lambda f: IT.pre(X, f), "abc", "features 'abc' of it; expected a list of their numbers"),
    (lambda x: IT.pre(x, [0]), 3.0, "activations given to it: 3.0"),
    (IT.concat_sites, None, "activations given to it: None; expected a tensor by site"),
    (IT.split_sites, torch.ones(2, 5), "activations of width 5"),
    (lambda y: IT.unexplained(X, y), torch.ones(4, 5), "activations of width 5"),
    (single_sites, 5, "site 5; expected a name such as resid_post.3"),
    (check_name, 5, "a dictionary's name 5; expected letters"),
    (lambda m: neurons(m, 0), "gpt2", "a model: 'gpt2'; expected what Model.open returns"),
    (VIEW.at, "x", "position 'x'; expected -4 to 3"),
    (VIEW.at, 4, "position 4; expected -4 to 3"),
]


@pytest.mark.parametrize(("call", "value", "message"), CASES)
def test_what_does_not_fit_is_named(call: Callable[[Any], Any], value: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        call(value)
