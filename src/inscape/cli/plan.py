"""`inscape plan`: memory, traffic and time of a training, before it is begun."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from inscape.cli.common import Json, note, print_json, print_table
from inscape.cli.train import Setting, named_values

_GB = 1e9

Together = Annotated[
    int | None,
    typer.Option(help="Processes that share the work; default: those of torchrun, or one."),
]


def command(
    d_dict: Annotated[int, typer.Option(help="Number of features.")],
    tokens: Annotated[float, typer.Option(help="Tokens seen in training, as in 1e9.")],
    k: Annotated[int, typer.Option(help="Active features per token.")],
    d_model: Annotated[
        int | None, typer.Option(help="Width of the activations; default: that of --model.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Tokens per step.")] = 1024,
    variant: Annotated[str, typer.Option(help="As of `train`.")] = "topk",
    option: Setting = None,
    transcoder: Annotated[
        bool, typer.Option("--transcoder", help="From one site to another of the same width.")
    ] = False,
    skip: Annotated[
        bool, typer.Option("--skip", help="A linear skip beside a transcoder's features.")
    ] = False,
    processes: Together = None,
    feature_shards: Annotated[
        int, typer.Option(help="How many of them share the features; the others share the rows.")
    ] = 1,
    dead_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the features taken to be dead.")
    ] = 0.05,
    memory: Annotated[
        float, typer.Option(min=0, help="GB of activations that their source holds.")
    ] = 2.0,
    limit: Annotated[
        float | None, typer.Option(min=0, help="GB that a process has: says whether it fits.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model: its width, memory and speed are taken.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Where --model is read; default: the middle residual.")
    ] = None,
    rates: Annotated[
        Path | None, typer.Option(help="Rates measured before; default: they are measured now.")
    ] = None,
    measure: Annotated[
        Path | None, typer.Option(help="Measure the rates and write them to this file too.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where rates are measured: cpu, cuda, cuda:N.")
    ] = "cpu",
    json: Json = False,
) -> None:
    """Memory, traffic and time of a training, from rates measured on this machine.

    With torchrun the network between its processes is measured too. Whatever was not measured is
    said not to be.
    """
    from inscape.core import InputError, pick_device
    from inscape.training import Processes, connected, plan, sharings

    if rates is not None and measure is not None:
        raise InputError("--rates and --measure", expected="one of them: read rates, or write them")
    with connected(device=str(pick_device(device))) as ranks:
        reader = None if model is None else _model(model, site, ranks.device)
        width = _width(d_model, reader)
        chosen = {
            "d_dict": d_dict,
            "k": k,
            "batch_size": batch_size,
            "variant": variant,
            "options": named_values(option or []),
            "skip": skip,
        }
        shape, config = _asked(width, tokens, transcoder, chosen)
        total = ranks.num_data if processes is None else processes
        shared = Processes.of(total, feature_shards)
        found = _rates(shape, config, shared, dead_share, rates, measure, ranks)
        given = {"dead_share": dead_share, "buffer": memory * _GB}
        made = plan(shape, config, found, processes=shared, **given)
        ways = sharings(shape, config, total, **given) if limit is not None else {}
    if not ranks.first:
        return
    fits = None if limit is None else _fits(made, ways, limit * _GB)
    if json:
        told = {**made.to_json(), "model": reader, "fits": fits, "rates": found}
        print_json(told)
        return
    _print(made, config, reader, found)
    if fits is not None:
        typer.echo(f"\n{fits['told']}")


def _asked(width: int, tokens: float, transcoder: bool, chosen: dict[str, Any]) -> tuple[Any, Any]:
    """The dictionary's shape, and the training."""
    from inscape.core import InputError
    from inscape.dictionary import DictionaryConfig
    from inscape.training import TrainConfig

    if not math.isfinite(tokens):
        raise InputError(f"--tokens {tokens}", expected="a number, as in 1e9")
    if chosen["skip"] and not transcoder:
        raise InputError(
            "--skip of an autoencoder", expected="--transcoder: its own would be the identity"
        )
    config = TrainConfig(tokens=int(tokens), **chosen)
    shape = DictionaryConfig(
        site_in="mlp_in.0" if transcoder else "resid_post.0",
        site_out="mlp_out.0" if transcoder else "resid_post.0",
        d_in=width,
        d_out=width,
        d_dict=config.d_dict,
        k=config.k,
        subtract_b_dec=not transcoder,
        skip=config.skip,
    )
    return shape, config


def _width(d_model: int | None, reader: Any) -> int:
    from inscape.core import InputError

    if d_model is None and reader is None:
        raise InputError("no width of the activations", expected="--d-model or --model")
    if reader is None:
        return int(d_model or 0)
    if d_model not in (None, reader.d_model):
        raise InputError(f"--d-model {d_model}", expected=f"{reader.d_model}, the width of --model")
    return int(reader.d_model)


def _rates(
    shape: Any,
    config: Any,
    processes: Any,
    dead_share: float,
    given: Path | None,
    written: Path | None,
    ranks: Any,
) -> Any:
    """The rates of the file, or of this machine, and of the network that there is between several
    processes, unless the file has it."""
    from inscape.training import Rates, workload
    from inscape.training import measure as measure_rates

    wanted = workload(shape, config, processes, dead_share)
    if given is None:
        found = measure_rates(wanted, device=ranks.device, shown=ranks.first).with_network(ranks)
        if written is not None and ranks.first:
            found.write(written)
        return found
    found = Rates.read(given)
    for name in ("d_in", "d_out", "d_dict"):
        had, now = found.at.get(name), getattr(wanted, name)
        if had != now and ranks.first:
            note(f"the rates of {given} were measured at {name} {had}, not {now}")
    return found if found.network is not None else found.with_network(ranks)


def _model(name: str, site: str | None, device: str) -> Any:
    """What it takes to read a model at a site."""
    from inscape.activations import measure_reading
    from inscape.atlas import default_sites
    from inscape.model import Model

    model = Model.open(name, device=device)
    return measure_reading(model, site or default_sites(model)[0])


def _fits(made: Any, ways: dict[Any, float], limit: float) -> dict[str, Any]:
    """Whether a process holds what it has to, and which other way of sharing the work does."""
    fits = made.memory_bytes <= limit
    best = min(ways, key=lambda way: ways[way], default=None)
    told = f"fits into {_bytes(limit)}" if fits else f"does not fit into {_bytes(limit)}"
    others = [way for way, needed in ways.items() if needed <= limit]
    if not fits and others:
        told += f"; with --feature-shards {others[0].features} it does"
    elif not fits and best is not None:
        told += f"; the least is {_bytes(ways[best])}, with --feature-shards {best.features}"
    return {"limit_bytes": limit, "fits": fits, "told": told}


def _print(made: Any, config: Any, reader: Any, rates: Any) -> None:
    """The plan for a person."""
    total = sum(made.step_seconds.values()) + (made.exchange_seconds or 0.0)
    lines = [(f"memory: {name}", _bytes(size)) for name, size in made.memory.items() if size]
    lines += [("memory of a process", _bytes(made.memory_bytes)), ("", "")]
    if made.processes.data * made.processes.features > 1:
        axes = {"data": made.processes.data, "features": made.processes.features}
        lines += [
            (f"sent in a step along {axis} ({axes[axis]} processes)", _bytes(size))
            for axis, size in made.sent.items()
        ]
        lines.append(("", ""))
    lines += [(f"step: {name}", _seconds(spent)) for name, spent in made.step_seconds.items()]
    if made.exchange_seconds != 0.0:
        exchange = made.exchange_seconds
        told = "not measured" if exchange is None else _seconds(exchange)
        lines.append(("step: exchange", told))
    lines += [
        ("step", _seconds(total)),
        ("tokens per second", f"{config.batch_size / total:,.0f}"),
        (f"{made.num_steps:,} steps", _seconds(made.total_seconds)),
        ("", ""),
        ("checkpoint", _bytes(made.checkpoint_bytes)),
        ("dictionary", _bytes(made.dictionary_bytes)),
        ("activations, if stored", _bytes(made.activations_bytes)),
    ]
    if reader is not None:
        speed = reader.tokens_per_second
        lines += [
            ("", ""),
            ("the model's memory", _bytes(reader.memory_bytes)),
            (f"its tokens per second to {reader.site}", f"{speed:,.0f}"),
            ("to read them all", _seconds(config.tokens / speed)),
        ]
    machine = ", ".join(f"{name} {value}" for name, value in rates.machine.items())
    print_table(("for one process", ""), lines)
    typer.echo(f"\nrates measured on: {machine}")
    for line in made.assumed:
        typer.echo(f"assumed: {line}" if "not measured" not in line else line)


def _bytes(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.3g} {unit}" if size < 1e15 else f"{size / factor:,.0f} {unit}"
    return f"{size / 1e3:.3g} kB"


def _seconds(spent: float) -> str:
    for unit, factor in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if spent >= 2 * factor or (unit == "s" and spent >= 1):
            return f"{spent / factor:,.3g} {unit}"
    return f"{spent * 1e3:.3g} ms"
