"""`inscape sweep`: a Pareto front of dictionaries, trained on one pass over the activations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli import common, sources


def _list_option(about: str) -> Any:
    return typer.Option(metavar="LIST", help=about)


def command(
    source: sources.Source,
    site: Annotated[str, typer.Option(help="The site to read.")],
    out: Annotated[Path, typer.Option(help="The folder of the sweep.")],
    k: Annotated[str, _list_option("Active features per token, as in 8,16,32.")],
    held_out: Annotated[
        Path, typer.Option(help="A text not trained on, to measure the dictionaries on.")
    ],
    to: Annotated[
        str | None, typer.Option(help="The site to predict; other than --site: transcoders.")
    ] = None,
    variant: Annotated[str, _list_option("Variants (see `train`), as in topk,jumprelu.")] = "topk",
    d_dict: Annotated[
        str | None, _list_option("Numbers of features; default: 16 times the width.")
    ] = None,
    seed: Annotated[str, _list_option("Seeds, each a dictionary of every setting.")] = "0",
    tokens: Annotated[int, typer.Option(help="Training tokens for each dictionary.")] = 2_000_000,
    batch_size: sources.BatchSize = 1024,
    lr: sources.Lr = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="VARIANT.NAME=VALUE", help="A variant-specific setting, repeatable."),
    ] = None,
    skip: sources.Skip = False,
    whiten: sources.Whiten = False,
    model: sources.SourceModel = None,
    memory: common.Memory = None,
    bos: common.Bos = None,
    skip_corrupt: sources.SkipCorrupt = False,
    json: common.Json = False,
) -> None:
    """Train variants, widths, sparsities and seeds on one pass; find the Pareto front.

    Run again after a stop, it resumes; with longer lists, it trains only what is new.
    """
    from inscape.core import keep_freed_memory
    from inscape.training import SweepConfig

    keep_freed_memory()
    activations, opened = sources.open_source(
        source,
        (site, to),
        model=model,
        memory=memory,
        bos=bos,
        skip_corrupt=skip_corrupt,
        held_out=held_out,
    )
    config = SweepConfig(
        variants=_list(variant),
        d_dict=_numbers("--d-dict", d_dict or str(16 * activations.width(site))),
        k=_numbers("--k", k),
        seeds=_numbers("--seed", seed),
        options=_options(option or []),
        tokens=tokens,
        batch_size=batch_size,
        lr=lr,
        skip=skip,
        whiten=whiten,
    )
    front = _sweep(activations, (site, to or site), out, config, opened, held_out)
    if json:
        common.print_json(front)
        return
    heads = ("variant", "features", "k", "active", "loss recovered", "FVU", "front")
    common.print_table(heads, [_row(setting) for setting in front["settings"]])
    typer.echo(f"{out / 'front.json'}, {out / 'front.html'}")


def _sweep(
    activations: Any, sites: tuple[str, str], out: Path, config: Any, model: Any, held_out: Path
) -> dict[str, Any]:
    from inscape.atlas import held_out_identity, loss_watch
    from inscape.report import write_front
    from inscape.training import MISSED, sweep

    measure = loss_watch(model, held_out).measure
    of = held_out_identity(model, held_out)
    front = sweep(activations, *sites, out, config, measure, held_out=of)
    write_front(front, out)
    for setting in front.settings:
        if setting.variant != "topk" and abs(setting.l0 / setting.k - 1) > MISSED:
            common.note(
                f"{setting.variant}, {setting.d_dict} features, ends with {setting.l0:.3g} active "
                f"features per token instead of {setting.k}"
            )
    return front.to_json()


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(name: str, text: str) -> tuple[int, ...]:
    from inscape.core import InputError

    try:
        return tuple(map(int, _list(text)))
    except ValueError as error:
        raise InputError(
            f"{name} {text!r}", expected="whole numbers with commas between them, as in 8,16,32"
        ) from error


def _options(given: list[str]) -> dict[str, dict[str, Any]]:
    """The settings of each variant."""
    named = sources.named_values(given, "VARIANT.NAME=VALUE", "jumprelu.penalty=tanh")
    found: dict[str, dict[str, Any]] = {}
    for name, value in named.items():
        variant, _, setting = name.partition(".")
        found.setdefault(variant, {})[setting] = value
    return found


def _row(setting: dict[str, Any]) -> tuple[str, ...]:
    figures = (f"{setting[name]:.4g}" for name in ("l0", "loss_recovered", "fvu"))
    size = (setting["variant"], str(setting["d_dict"]), str(setting["k"]))
    return *size, *figures, "*" if setting["optimal"] else ""
