"""`inscape validate`: what the dictionaries keep and lose, and whether traces hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.atlas import Quality

_NATS = "nats per token"
# What the figures are called for people, with their unit.
_NAMES = {
    "ce_clean": ("loss of the model", _NATS),
    "ce_dict": ("loss with the dictionary", _NATS),
    "ce_zero": ("loss with zeros in its place", _NATS),
    "ce_mean": ("loss with the mean in its place", _NATS),
    "extra_ce": ("loss that it adds", _NATS),
    "loss_recovered_zero": ("loss recovered over zeros", ""),
    "loss_recovered_mean": ("loss recovered over the mean", ""),
    "kl": ("KL from the model", _NATS),
    "fvu": ("unexplained variance (FVU)", ""),
    "ev": ("explained variance, centred", ""),
    "l0": ("active features per token (L0)", ""),
    "num_tokens": ("tokens", ""),
    "num_predictions": ("predicted tokens", ""),
    "num_documents": ("documents", ""),
}


def command(
    atlas: common.AtlasFolder,
    text: Annotated[
        Path | None, typer.Option(help="Measure on this text; default: the atlas's own.")
    ] = None,
    dictionary: common.OnlyThese = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to measure on.")] = 20_000,
    concepts: Annotated[
        Path | None,
        typer.Option(help="Concepts for k-sparse probing (see check); default: everyday life."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out sparse probing and absorption.")
    ] = False,
    saebench: Annotated[
        Path | None,
        typer.Option(help="Also write the figures into this folder, as SAEBench's result files."),
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            metavar="PROMPT",
            help="Instead check every edge of this prompt's graph against an intervention.",
        ),
    ] = None,
    graphs: Annotated[
        Path | None,
        typer.Option(
            help="Instead score the graphs of the prompts in this file, one on a line: by neurons "
            "alone, with each dictionary of the residual stream, and with all that is traced."
        ),
    ] = None,
    seed: common.Seed = 0,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Measure the dictionaries of an atlas: loss recovered, FVU, L0, density, labels, sparse
    probing, absorption."""
    from inscape.atlas.saebench import write_saebench
    from inscape.core import InputError

    if edges is not None and graphs is not None:
        raise InputError("--edges and --graphs were both given", expected="one of them")
    opened = common.open_atlas(atlas, model, device, bos)
    if edges is not None:
        checked = _edges(opened, edges, dictionary)
        common.show([checked] if json else _edges_in_words(checked), json)
        return
    if graphs is not None:
        _graphs(opened, graphs, dictionary, seed, json)
        return
    probing = {"concepts": None} if quick else {} if concepts is None else {"concepts": concepts}
    found = opened.validate(
        text, dictionary, max_tokens=max_tokens, letters=not quick, seed=seed, save=False, **probing
    )
    common.show([f.to_json() if json else _for_people(f) for f in found], json)
    for figures in found:
        opened.save(figures)  # they are printed by now, whether or not they can be saved
        if saebench is not None:
            write_saebench(opened, figures, saebench)


def _for_people(figures: Quality) -> dict[str, str]:
    """One level of named values, with units and intervals."""
    shown = {"dictionary": figures.dictionary, "measured on": figures.text}
    for name, (words, unit) in _NAMES.items():
        value = figures.fidelity.said(name)
        if value is None:
            shown[words] = "not said: the model's loss is hardly higher without the activations"
            continue
        shown[words] = f"{value:.4g}" if isinstance(value, float) else str(value)
        shown[words] += f" {unit}" if unit else ""
        if name in figures.fidelity.interval:
            low, high = figures.fidelity.interval[name]
            shown[words] += f" (95 %: {low:.4g} to {high:.4g})"
    if figures.over_1_percent is not None:
        rest = f"over {figures.index_tokens:,} tokens"
        few = f"not said {rest}: 1,000,000 are needed"
        dead = figures.dead_share
        shown["features that never fired"] = few if dead is None else f"{dead:.2%} ({rest})"
        shown["features active on over 1 % of tokens"] = f"{figures.over_1_percent:.2%}"
        shown["features active on over 10 % of tokens"] = f"{figures.over_10_percent:.2%}"
    if figures.label_auroc is not None:
        rest = f"{figures.labels_scored} labels; 0.5 is chance"
        shown["AUROC of labels, in the median"] = f"{figures.label_auroc:.3f} ({rest})"
    if figures.num_unclear:
        shown["features whose meaning is unclear"] = f"{figures.num_unclear}, not labelled"
    return shown | _probed(figures) | _absorbed(figures)


def _probed(figures: Quality) -> dict[str, str]:
    found = figures.probing
    if found is None:
        return {}
    whole = f"whole site {found.mean():.1%}, {len(found.concepts)} concepts, 50 % is chance"
    return {
        f"accuracy of {k} feature{'s' * (k > 1)} (sparse probing)": f"{found.mean(k):.1%} "
        f"({k} channel{'s' * (k > 1)} {found.mean(k, of='channels'):.1%}, {whole})"
        for k in found.concepts[0].features
    }


def _absorbed(figures: Quality) -> dict[str, str]:
    found = figures.absorption
    if found is None:
        return {}
    without = f", without {found.left_out}" if found.left_out else ""
    rest = f"{len(found.letters)} letters{without}"
    return {
        "absorption of first letters": f"{found.fraction:.1%} in the mean ({rest})",
        "words whose letter is absorbed in full": f"{found.full:.1%}",
    }


def _edges(opened: Any, prompt: str, names: list[str] | None) -> dict[str, Any]:
    from inscape.storage import plain
    from inscape.validation import check_edges

    graph = opened.trace(prompt, names=names, save=False)
    some = 200 if any("mlp_act." in (n.dictionary or "") for n in graph.nodes) else None
    found = check_edges(opened.model, opened.traced(names), graph, num_edges=some)
    return {"prompt": prompt, **plain(found)}


def _graphs(opened: Any, file: Path, names: list[str] | None, seed: int, json: bool) -> None:
    from inscape.attribution import score_graphs
    from inscape.core import InputError

    if not file.is_file():
        raise InputError(f"there is no file {file}", expected="a file of prompts, one on a line")
    prompts = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    every = opened.traced(names)
    stream = [one for one in every if not one.config.transcoder]
    sets = [[], *([one] for one in stream)]
    sets += [every] if every not in sets else []
    found = [score_graphs(opened.model, prompts, some, seed=seed) for some in sets]
    if json:
        common.print_json([one.to_json() for one in found])
    else:
        typer.echo("\n".join(one.summary() for one in found))


def _edges_in_words(check: dict[str, Any]) -> dict[str, Any]:
    """The check in words."""
    source, target, edge, measured = check["worst"]
    return {
        "prompt": check["prompt"],
        "edges checked": f"{check['num_edges']:,}, of which {check['num_zero']:,} are zero",
        "nodes": f"{check['num_sources']} sources, {check['num_targets']} targets",
        "largest error": f"{check['max_error']:.2g} of the largest edge into the node",
        "worst": f"node {source} to node {target}: edge {edge:.6g}, measured {measured:.6g}",
    }
