"""`inscape label`: names for features, scored on documents that they were not written from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inscape.cli import common


def command(
    atlas: common.AtlasFolder,
    dictionary: common.OnlyThese = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default: the atlas's.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Name the features from tokens and contexts, and score the names on other documents."""
    found = common.open_atlas(atlas).label(dictionary, seed=seed)
    summaries = [{"labels": str(labels.folder), **labels.summary} for labels in found]
    common.show(summaries if json else [_in_words(summary) for summary in summaries], json)


def _in_words(summary: dict[str, Any]) -> dict[str, Any]:
    def auroc(name: str) -> str:
        return "not measured" if summary[name] is None else f"{summary[name]:.3f}"

    above = summary["fraction_above_shuffled"]
    return {
        "labels": summary["labels"],
        "labelled": f"{summary['num_labelled']} of {summary['num_features']} features",
        "never active": summary["num_dead"],
        "active too rarely": summary["num_too_few_activations"],
        "unclear": summary["num_unclear"],
        "kinds": {kind: num for kind, num in summary["kinds"].items() if kind != "unclear"},
        "AUROC on other documents": f"{auroc('median_auroc')}, in the median of "
        f"{summary['num_scored']} labels (0.5 is chance)",
        "against near windows": auroc("median_auroc_near"),
        "with another feature's label": auroc("median_shuffled"),
        "labels clearly better than that": "not measured" if above is None else f"{above:.1%}",
    }
