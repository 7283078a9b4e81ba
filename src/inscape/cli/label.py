"""`inscape label`: names for features, scored on documents that they were not written from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Atlas
    from inscape.labels import Asked, Estimate, Labels


def command(
    atlas: common.AtlasFolder,
    dictionary: common.OnlyThese = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of everything random; default: the atlas's.")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="A sentence embedder's folder; default: the installed one."
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="WordNet's folder, or a file in WN-LMF; default: the folder where it usually is.",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Ask this chat model, which runs here.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask the model behind this OpenAI-compatible address, as in "
            "http://localhost:8000/v1.",
        ),
    ] = None,
    endpoint_model: Annotated[
        str | None, typer.Option(help="What the model is called at --endpoint.")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The variable of the environment that holds the key."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Questions under way at once at --endpoint.")
    ] = 8,
    answer_tokens: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Most tokens of an answer, more for a model that thinks first; default: "
            "200 (--by: 40).",
        ),
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option(help="A file with another prompt; see the page on labels.")
    ] = None,
    input_price: Annotated[
        float | None, typer.Option(help="The price of a million tokens of questions.")
    ] = None,
    output_price: Annotated[
        float | None, typer.Option(help="The price of a million tokens of answers.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Stop before the cost passes this, earlier runs included.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Stop before questions and answers pass so many tokens."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what asking would take.")
    ] = False,
    published: Annotated[
        Path | None,
        typer.Option("--from", help="Read explanations that Neuronpedia or delphi has written."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What those of --from are called; default: their file.")
    ] = None,
    json: common.Json = False,
) -> None:
    """Name the features, and score the names on documents that they were not written from.

    From what fires, what kinds of things that is and what it means, offline; or by a language
    model; or from a published file. The labels made last are those shown; `inscape label ATLAS`
    shows the offline ones again.
    """
    asking = by is not None or endpoint is not None
    limits = {
        "input_price": input_price,
        "output_price": output_price,
        "max_cost": max_cost,
        "max_tokens": max_tokens,
    }
    given = {"prompt": prompt, "answer_tokens": answer_tokens, "dry_run": dry_run or None, **limits}
    _check_ways(by, endpoint, published)
    _only_with("--by or --endpoint", asking, given)
    _only_with(
        "--endpoint", endpoint is not None, {"endpoint_model": endpoint_model, "key_env": key_env}
    )
    _only_with("--from", published is not None, {"name": name})
    _only_with(
        "--by, --endpoint or --from left out",
        not asking and published is None,
        {"embedder": embedder, "vocabulary": vocabulary},
    )
    opened = common.open_atlas(atlas)
    if not asking and published is None:
        found = opened.label(dictionary, seed=seed, embedder=embedder, vocabulary=vocabulary)
    elif published is not None:
        from inscape.labels import read_published

        found = opened.label(dictionary, seed=seed, by=read_published(published, name))
    else:
        from inscape.labels import Limits

        found = opened.label(
            dictionary,
            seed=seed,
            by=_asked(by, endpoint, endpoint_model, key_env, concurrency, answer_tokens),
            prompt=prompt,
            limits=Limits(**limits),  # type: ignore[arg-type]
            before=lambda estimate: _announced(estimate, dry_run, json),
        )
    summaries = [_summary(opened, labels) for labels in found]
    if found or not dry_run:
        common.show(summaries if json else [_in_words(summary) for summary in summaries], json)


def _check_ways(by: str | None, endpoint: str | None, published: Path | None) -> None:
    from inscape.core import InputError

    named = {"--by": by, "--endpoint": endpoint, "--from": published}
    chosen = [name for name, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise InputError(" and ".join(chosen), expected="one of them")


def _only_with(needed: str, there: bool, options: dict[str, Any]) -> None:
    from inscape.core import InputError

    for name, value in options.items():
        if value is not None and not there:
            raise InputError(f"--{name.replace('_', '-')} without {needed}", expected="both")


def _asked(
    by: str | None,
    endpoint: str | None,
    model: str | None,
    key_env: str | None,
    concurrency: int,
    answer_tokens: int | None,
) -> Asked:
    """The language model that is named."""
    from inscape.core import InputError
    from inscape.labels import Endpoint, LocalModel

    if endpoint is None:
        assert by is not None
        return LocalModel(common.open_model(by), answer_tokens=answer_tokens or 40)
    if model is None:
        raise InputError(
            "--endpoint without --endpoint-model", expected="what the model is called there"
        )
    key = ""
    if key_env is not None:
        key = os.environ.get(key_env, "")
        if not key.strip():
            # what was typed may be the key itself: it is not repeated
            raise InputError(
                "--key-env names no variable of the environment that is set",
                expected="its name, as in OPENAI_API_KEY, and not the key",
            )
    tokens = answer_tokens or 200
    return Endpoint(endpoint, model, key=key, concurrency=concurrency, answer_tokens=tokens)


def _announced(estimate: Estimate, dry_run: bool, json: bool) -> bool:
    """Says what asking will take, before it begins; whether it is to begin."""
    if dry_run and json:
        common.print_json(vars(estimate))
        return False
    cost = "" if estimate.cost is None else f", a cost of at most {estimate.cost:.4g}"
    done = f" ({estimate.num_answered:,} are answered)" if estimate.num_answered else ""
    typer.echo(
        f"{estimate.num_questions:,} questions{done}: about {estimate.prompt_tokens:,} tokens to "
        f"read and at most {estimate.completion_tokens:,} to write{cost}",
        err=not dry_run,
    )
    return not dry_run


def _summary(atlas: Atlas, labels: Labels) -> dict[str, Any]:
    """What is printed of labels: of those by others also how they compare with the offline ones,
    text by text on the same windows."""
    from inscape.labels import compared

    found = {"labels": str(labels.folder), **labels.summary}
    name, _, writer = labels.folder.name.partition("@")
    offline = atlas.labels(name, "") if writer else None
    if offline is not None:
        both = compared(labels, offline)
        found["beside_offline"] = None if both is None else both.to_json()
    return found


def _in_words(summary: dict[str, Any]) -> dict[str, Any]:
    def auroc(name: str) -> str:
        return "not measured" if summary[name] is None else f"{summary[name]:.3f}"

    above = summary["fraction_above_shuffled"]
    shown = {
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
        "the text alone, by the embedder": auroc("median_auroc_text"),
    }
    if missing := summary.get("would_help"):
        shown["would give more names"] = "; ".join(missing)
    return {**shown, **_of_others(summary)}


def _of_others(summary: dict[str, Any]) -> dict[str, str]:
    """The lines that only labels by others have."""
    shown = {}
    if asked := summary.get("asked"):
        cost = "" if asked["cost"] is None else f", cost {asked['cost']:.4g}"
        tokens = f"{asked['prompt_tokens']:,} tokens read, {asked['completion_tokens']:,} written"
        shown["answered"] = f"{asked['num_answered']:,} of {asked['num_questions']:,}"
        shown["asked again, after a failure or a wait"] = f"{asked.get('num_repeated', 0):,}"
        shown["malformed answers"] = f"{asked['num_malformed']:,}"
        shown["taken"] = tokens + cost
    if published := summary.get("published"):
        shown["explanations"] = f"{published['num_explanations']:,} of {published['about']}"
        for scorer, value in published["median_balanced_accuracy"].items():
            shown[f"{scorer}, as published"] = f"{value:.1%} right, in the median"
    if both := summary.get("beside_offline"):
        better, named = both["better"], both["num_features"]
        part = "none" if better["share"] is None else f"{better['share']:.1%}"
        shown["text alone, beside the offline labels' text"] = (
            f"{both['first']:.3f} and {both['second']:.3f}, medians of {named} features; "
            f"better on {part} of the {better['total']} on which they differ"
        )
    elif "beside_offline" in summary:
        shown["text alone, beside the offline labels' text"] = (
            "not measured: no feature of both was scored on the same windows"
        )
    return shown
