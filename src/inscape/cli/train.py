"""`inscape train`: a dictionary from stored activations, or from a text that a model reads."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli import common, sources

# The options that need more than a line; the others stand in the signature.
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
Precision = Annotated[
    str,
    typer.Option(
        help="fp32, bf16 (topk kinds, jumprelu; selected values are computed in fp32), or "
        "auto: bf16 where it is faster."
    ),
]


def command(
    context: typer.Context,
    source: sources.Source,
    site: Read = None,
    to: Written = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the dictionary.")] = None,
    model: sources.SourceModel = None,
    d_dict: Annotated[
        int | None, typer.Option(help="Number of features; default: 16 times the width.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Active features per token; default: width / 8.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens seen in training.")] = 2_000_000,
    batch_size: sources.BatchSize = 1024,
    lr: sources.Lr = None,
    variant: Variant = "topk",
    option: Setting = None,
    skip: sources.Skip = False,
    whiten: sources.Whiten = False,
    resample: Annotated[
        int, typer.Option(help="How often to re-initialise dead features, in the run's first half.")
    ] = 0,
    held_out: Annotated[
        Path | None, typer.Option(help="A text on which the loss recovered is measured.")
    ] = None,
    memory: common.Memory = None,
    bos: common.Bos = None,
    beside: Beside = None,
    skip_corrupt: sources.SkipCorrupt = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="A folder for TensorBoard's event files.")
    ] = None,
    wandb: Annotated[str | None, typer.Option(help="A project of Weights & Biases.")] = None,
    encoder: Precision = "auto",
    kernels: Annotated[
        str, typer.Option(help="auto: the fastest on this machine; plain: torch only.")
    ] = "auto",
    feature_shards: Annotated[
        int, typer.Option(help="Processes that share the features; the others share the rows.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the memory, disk and time needed, and stop.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="For --dry-run: the number of processes; default: one.")
    ] = None,
    device: common.Device = None,
    seed: common.Seed = 0,
    json: common.Json = False,
) -> None:
    """Train a dictionary on stored activations, or on those of a text that a model reads.

    Run again after a stop, it resumes from its last checkpoint. With torchrun, several processes
    train it together.
    """
    from inscape.core import InputError, keep_freed_memory, pick_device
    from inscape.dictionary.kernels import use_kernels
    from inscape.training import connected, default_config

    keep_freed_memory()
    context.with_resource(use_kernels(kernels))
    if processes is not None and not dry_run:
        raise InputError("--processes without --dry-run", expected="torchrun, to start them")
    options = sources.named_values(option or [])
    with connected(1 if dry_run else feature_shards, device=str(pick_device(device))) as ranks:
        activations, opened = sources.open_source(
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
        if site is None:
            raise InputError(
                "training needs --site", expected=f"a site: {', '.join(activations.sites)}"
            )
        read = sources.all_sites(site, activations.sites)
        written = sources.all_sites(to, activations.sites) if to else read
        config = default_config(
            activations,
            read,
            d_dict=d_dict,
            k=k,
            tokens=tokens,
            lr=lr,
            seed=seed,
            whiten=whiten,
            variant=variant,
            options=options,
            skip=skip,
            batch_size=batch_size,
            encoder=encoder,
            resample=resample,
        )
        if dry_run:
            shared = {"processes": processes or 1, "feature_shards": feature_shards}
            _plan(activations, (read, written), config, shared, ranks.device, json)
            return
        watch = None if held_out is None else _watch(read, opened, held_out)
        listeners = _listeners(tensorboard, wandb) if ranks.first else []
        made = _train(activations, (read, written), out, config, watch, listeners, ranks)
        if ranks.first:
            common.show([made], json)


def _listeners(tensorboard: Path | None, wandb: str | None) -> list[Any]:
    from inscape.training.listeners import TensorBoard, WandB

    found: list[Any] = [] if tensorboard is None else [TensorBoard(tensorboard)]
    return found if wandb is None else [*found, WandB(wandb)]


def _watch(read: str, model: Any, held_out: Path) -> Any:
    from inscape.atlas import loss_watch
    from inscape.core import InputError
    from inscape.dictionary import single_sites

    if (num_sites := len(single_sites(read))) > 1:
        raise InputError(
            f"--held-out with {num_sites} sites",
            expected="one: loss recovered is not measured for several sites",
            next_step="leave it out",
        )
    return loss_watch(model, held_out)


def _train(
    source: Any,
    sites: tuple[str, str],
    out: Path | None,
    config: Any,
    watch: Any,
    listeners: list[Any],
    ranks: Any,
) -> dict[str, Any]:
    from inscape.core import InputError
    from inscape.training import remarks, train

    if out is None:
        raise InputError("training needs --out", expected="the folder of the dictionary")
    made = train(
        source, *sites, out, config, name=out.name, watch=watch, listeners=listeners, ranks=ranks
    )
    for remark in remarks(made) if ranks.first else ():
        common.note(remark)
    return {
        "dictionary": made.name,
        "folder": str(out),
        "reads": made.config.site_in,
        "writes": made.config.site_out,
        "features": made.d_dict,
        "kind": made.config.kind,
        "k": made.k,
    }


def _plan(
    source: Any,
    sites: tuple[str, str],
    config: Any,
    shared: dict[str, int],
    device: str,
    json: bool,
) -> None:
    """Print the estimated cost of the training."""
    from inscape.training import dictionary_shape, plan

    shape = dictionary_shape(source, *sites, config)
    buffer = getattr(source, "memory", 0)
    made = plan(source, shape, config, buffer=buffer, device=device, **shared)
    if json:
        common.print_json(made.to_json())
        return
    sizes = {f"memory: {name}": size for name, size in made.memory.items() if size}
    sizes["memory of a process"] = made.memory_bytes
    sizes |= {f"sent in a step along {axis}": size for axis, size in made.sent.items() if size}
    sizes |= {
        "checkpoint": made.checkpoint_bytes,
        "dictionary": made.dictionary_bytes,
        "activations, if stored": made.activations_bytes,
    }
    lines = {name: f"{size / 1e9:,.4g} GB" for name, size in sizes.items()}
    lines[f"step, measured with {made.tried_features:,} features"] = f"{made.step_seconds:.3g} s"
    lines["tokens per second"] = f"{config.batch_size / made.step_seconds:,.0f}"
    whole = timedelta(seconds=math.ceil(made.total_seconds))
    lines[f"{made.num_steps:,} steps"] = f"{whole} (hours:minutes:seconds)"
    common.show(lines, json=False)
    common.note("not counted: reading the activations, the network between processes")
