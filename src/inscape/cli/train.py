"""`inscape train`: a dictionary from stored activations, or from a text that a model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import Bos, Device, Json, Seed, note, print_entries, print_json, rows
from inscape.cli.sources import Memory, SkipCorrupt, Source, SourceModel, all_sites, open_source

Variant = Annotated[
    str,
    typer.Option(
        help="topk, batch_topk, matryoshka, jumprelu, relu, gated, or one of an installed package."
    ),
]

Beside = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="STORE",
        help="Another store, of the same text by another model, repeatable; sites are prefixed "
        "with the folder's name, as in base:resid_post.3+chat:resid_post.3.",
    ),
]

Read = Annotated[
    str | None, typer.Option(help="The site to read; several, A+B or mlp_in.*, give a crosscoder.")
]

Written = Annotated[
    str | None,
    typer.Option(
        help="The site to predict: another site gives a transcoder, as many others as are "
        "read a cross-layer transcoder."
    ),
]

Setting = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A variant-specific setting, repeatable."),
]

Kernels = Annotated[str, typer.Option(help="auto: the fastest on this machine; plain: torch only.")]

Precision = Annotated[
    str,
    typer.Option(
        help="fp32, bf16 (topk kinds, jumprelu; selected values are computed in fp32), or "
        "auto: bf16 where it is faster."
    ),
]

Skip = Annotated[bool, typer.Option("--skip", help="Give a transcoder a linear skip as well.")]

Whiten = Annotated[bool, typer.Option("--whiten", help="Whiten the activations before training.")]

Features = Annotated[
    int | None, typer.Option(help="Number of features; default: 16 times the width.")
]

Resample = Annotated[
    int,
    typer.Option(help="How often dead features are re-initialised, in the first half of the run."),
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the memory, disk and time needed, and stop.")
]

Processes = Annotated[
    int | None, typer.Option(help="For --dry-run: the number of processes; default: one.")
]

FeatureShards = Annotated[
    int, typer.Option(help="Processes that share the features; the others share the rows.")
]


def command(
    context: typer.Context,
    source: Source,
    site: Read = None,
    to: Written = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the dictionary.")] = None,
    model: SourceModel = None,
    d_dict: Features = None,
    k: Annotated[
        int | None, typer.Option(help="Active features per token; default: width / 8.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens seen in training.")] = 2_000_000,
    batch_size: Annotated[int, typer.Option(help="Tokens per step.")] = 1024,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    variant: Variant = "topk",
    option: Setting = None,
    skip: Skip = False,
    whiten: Whiten = False,
    resample: Resample = 0,
    held_out: Annotated[
        Path | None, typer.Option(help="A text on which the loss recovered is measured.")
    ] = None,
    memory: Memory = None,
    bos: Bos = None,
    beside: Beside = None,
    skip_corrupt: SkipCorrupt = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="A folder for TensorBoard's event files.")
    ] = None,
    wandb: Annotated[str | None, typer.Option(help="A project of Weights & Biases.")] = None,
    encoder: Precision = "auto",
    kernels: Kernels = "auto",
    feature_shards: FeatureShards = 1,
    dry_run: DryRun = False,
    processes: Processes = None,
    device: Device = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a dictionary on stored activations, or on those of a text that a model reads.

    Run again after a stop, it resumes from its last checkpoint. With torchrun, several processes
    train it together.
    """
    from inscape.core import InputError, keep_freed_memory, pick_device
    from inscape.dictionary.kernels import use_kernels
    from inscape.training import connected

    keep_freed_memory()
    context.with_resource(use_kernels(kernels))
    if processes is not None and not dry_run:
        raise InputError("--processes without --dry-run", expected="torchrun, to start them")
    settings = {
        "d_dict": d_dict,
        "k": k,
        "tokens": tokens,
        "lr": lr,
        "seed": seed,
        "whiten": whiten,
        "variant": variant,
        "options": named_values(option or []),
        "skip": skip,
        "batch_size": batch_size,
        "encoder": encoder,
        "resample": resample,
    }
    with connected(1 if dry_run else feature_shards, device=str(pick_device(device))) as ranks:
        activations, opened = open_source(
            source,
            (site, to),
            model=model,
            memory=memory,
            bos=bos,
            skip_corrupt=skip_corrupt,
            held_out=held_out,
            others=tuple(beside or ()),
            ranks=ranks,
        )
        if dry_run:
            shared = processes or 1, feature_shards
            _plan(activations, (site, to), settings, shared, ranks.device, json)
            return
        listeners = _listeners(tensorboard, wandb) if ranks.first else []
        made = _train(activations, (site, to), out, settings, opened, held_out, listeners, ranks)
        if ranks.first:
            print_entries([made], json)


def _listeners(tensorboard: Path | None, wandb: str | None) -> list[Any]:
    from inscape.training.listeners import TensorBoard, WandB

    found: list[Any] = [] if tensorboard is None else [TensorBoard(tensorboard)]
    return found if wandb is None else [*found, WandB(wandb)]


def _train(
    source: Any,
    sites: tuple[str | None, str | None],
    out: Path | None,
    settings: dict[str, Any],
    model: Any,
    held_out: Path | None,
    listeners: list[Any],
    ranks: Any,
) -> dict[str, Any]:
    from inscape.atlas import loss_watch
    from inscape.core import InputError
    from inscape.dictionary import single_sites
    from inscape.training import remarks, train

    if out is None:
        raise InputError("training needs --out", expected="the folder of the dictionary")
    (site, to), config = _chosen(source, sites, settings)
    read = single_sites(site)
    if held_out is not None and len(read) > 1:
        raise InputError(
            f"--held-out with {len(read)} sites",
            expected="one: loss recovered is not measured for several sites",
            next_step="leave it out",
        )
    watch = None if held_out is None else loss_watch(model, held_out)
    made = train(
        source, site, to, out, config, name=out.name, watch=watch, listeners=listeners, ranks=ranks
    )
    for remark in remarks(made) if ranks.first else ():
        note(remark)
    return _shown(made, out)


def _chosen(
    source: Any, sites: tuple[str | None, str | None], settings: dict[str, Any]
) -> tuple[tuple[str, str], Any]:
    """The expanded sites, and the settings with defaults derived from their width."""
    from inscape.core import InputError
    from inscape.training import default_config

    if sites[0] is None:
        raise InputError("training needs --site", expected=f"a site: {', '.join(source.sites)}")
    site = all_sites(sites[0], source.sites)
    to = all_sites(sites[1], source.sites) if sites[1] else site
    return (site, to), default_config(source, site, **settings)


def _plan(
    source: Any,
    sites: tuple[str | None, str | None],
    settings: dict[str, Any],
    shared: tuple[int, int],
    device: str,
    json: bool,
) -> None:
    """Print the estimated cost of the training."""
    from inscape.training import dictionary_shape, plan

    (site, to), config = _chosen(source, sites, settings)
    shape = dictionary_shape(source, site, to, config)
    buffer = getattr(source, "memory", 0)
    made = plan(
        source,
        shape,
        config,
        processes=shared[0],
        feature_shards=shared[1],
        buffer=buffer,
        device=device,
    )
    if json:
        print_json(made.to_json())
        return
    lines = {f"memory: {name}": size_text(size) for name, size in made.memory.items() if size}
    lines["memory of a process"] = size_text(made.memory_bytes)
    sent = made.sent.items()
    lines |= {f"sent in a step along {axis}": size_text(size) for axis, size in sent if size}
    lines |= {
        f"step, measured with {made.tried_features:,} features": duration_text(made.step_seconds),
        "tokens per second": f"{config.batch_size / made.step_seconds:,.0f}",
        f"{made.num_steps:,} steps": duration_text(made.total_seconds),
        "checkpoint": size_text(made.checkpoint_bytes),
        "dictionary": size_text(made.dictionary_bytes),
        "activations, if stored": size_text(made.activations_bytes),
    }
    rows(lines)
    note("not counted: reading the activations, the network between processes")


def size_text(size: float) -> str:
    """Bytes, human-readable."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.3g} {unit}" if size < 1e15 else f"{size / factor:,.0f} {unit}"
    return f"{size / 1e3:.3g} kB"


def duration_text(seconds: float) -> str:
    """A duration, human-readable."""
    for unit, factor in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * factor or (unit == "s" and seconds >= 1):
            return f"{seconds / factor:,.3g} {unit}"
    return f"{seconds * 1e3:.3g} ms"


def named_values(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE as settings; a value with commas is a list."""
    from inscape.core import InputError

    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (sign and name):
            raise InputError(f"--option {text!r}", expected="NAME=VALUE, as in penalty=tanh")
        found[name] = value.split(",") if "," in value else value
    return found


def _shown(dictionary: Any, folder: Path) -> dict[str, Any]:
    return {
        "dictionary": dictionary.name,
        "folder": str(folder),
        "reads": dictionary.config.site_in,
        "writes": dictionary.config.site_out,
        "features": dictionary.d_dict,
        "kind": dictionary.config.kind,
        "k": dictionary.k,
    }
