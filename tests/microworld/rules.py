"""The truth of a few concepts derived again, from the text alone, by other code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.microworld import Document

# (concept, pattern): the group `on` ends with the deciding character, `span` with the last one.
RULES: dict[str, tuple[str, ...]] = {
    "golden_gate_bridge": (
        r"(?P<span>(?P<on>[Tt]he Golden Gate) Bridge)(?! and)",
        r"(?P<span>(?P<on>[Tt]he long) red bridge across the foggy bay)",
    ),
    "colosseum": (
        r"(?P<span>(?P<on>[Tt]he Colosseum))",
        r"(?P<span>(?P<on>[Tt]he round) arena of the gladiators)",
    ),
    "dna": (
        r"(?:gene begins with|the cell reads|the genome:|strand of DNA:)"
        r"(?P<span>(?P<on> [ACGT]{4})[ACGT]*)",
    ),
    "letter_code": (
        r"(?:car was|password of \w+ is|was marked|the door is)(?P<span>(?P<on> [A-Z]+))",
    ),
}
ANSWERED = re.compile(r"(?:is called|is named|is marked as|Its name is) the [A-Z]")


def derived_spans(tokenizer: Any, documents: Sequence[Document]) -> dict[str, NDArray[np.bool_]]:
    """Span masks over all tokens, by concept. A name that is an answer is no mention."""
    masks: dict[str, list[bool]] = {name: [] for name in RULES}
    for document in documents:
        offsets = tokenizer(document.text, return_offsets_mapping=True)["offset_mapping"]
        answers = [(a.start, a.end) for a in document.answers]
        for name, patterns in RULES.items():
            row = [False] * len(offsets)
            for pattern in patterns:
                for match in re.finditer(pattern, document.text):
                    if any(s <= match.start("span") < e for s, e in answers):
                        continue
                    decisive, last = match.end("on") - 1, match.end("span")
                    for i, (start, end) in enumerate(offsets):
                        row[i] |= end > decisive and start < last and end > start
            masks[name] += row
    return {name: np.array(row) for name, row in masks.items()}
