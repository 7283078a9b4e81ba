"""The table of a check of concepts: how well the best feature of each does, and what else does."""

from __future__ import annotations

from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import EN_DASH
from inscape.report.parts import number, span, table
from inscape.validation import ConceptCheck, ConceptChecks

BESIDE = ("dimension", "neuron", "token", "probe")


def checks_html(found: ConceptChecks) -> Markup:
    """The table, the best concept first, with what was tried for those that were not found."""
    rows = [_row(check, found) for check in sorted(found.checks, key=lambda c: -c.auroc)]
    beside = (f"best {name}" if name != "probe" else "linear probe" for name in BESIDE)
    heads = ["concept", "AUROC", "precision", "recall", *beside, "found by", ""]
    num = len(found.checks)
    caption = (
        f"{num - len(found.missed)} of {num} concepts of {found.source} found, in {found.model}. "
        f"Chosen on half of {found.num_texts:,} texts, judged on the other half."
    )
    tried = "; ".join(f"{name} ({what})" for name, what in found.dictionaries.items())
    missed = tag("p", f"Tried: single features and unions of three of {tried}.", class_="note")
    return tag(
        "article",
        table(heads, rows, caption=caption, numeric=range(1, 4 + len(BESIDE))),
        missed if found.missed else None,
        class_="card",
    )


def _row(check: ConceptCheck, found: ConceptChecks) -> tuple[object, ...]:
    best = check.union
    beside = [number(one.auroc if (one := check.beside.get(k)) else None) for k in BESIDE]
    verdict = "found" if check.is_found else f"below {check.threshold:g}"
    if best is None:
        return check.name, EN_DASH, number(None), number(None), *beside, "no feature fires", verdict
    interval = tag("span", "(", span(*best.interval), ")", class_="interval")
    parts = [
        join(" or " if i else None, tag("code", id), " ", found.labels.get(id))
        for i, id in enumerate(best.parts)
    ]
    return (
        check.name,
        join(number(best.auroc), " ", interval),
        number(best.precision, "share"),
        number(best.recall, "share"),
        *beside,
        join(parts),
        verdict,
    )
