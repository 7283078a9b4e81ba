"""`inscape circuit`: the few units that carry a behaviour over many prompts."""

from __future__ import annotations

from typing import Annotated

import typer

from inscape.cli import common


def command(
    source: common.AtlasOrModel,
    set: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAME",
            help="The prompts: a .jsonl file with prompt, answer, wrong, other and roles in each "
            "line, a .json file of templates, or one of agreement, capitals, greater-than, "
            "indirect-objects, pronouns, sums.",
        ),
    ],
    num: Annotated[int, typer.Option(help="How many prompts are drawn from templates.")] = 80,
    units: Annotated[
        list[str] | None,
        typer.Option(help="heads, mlps, features (of an atlas); repeatable. Default: heads, mlps."),
    ] = None,
    max_members: Annotated[int, typer.Option(help="Most members of the circuit.")] = 8,
    candidates: Annotated[
        int, typer.Option(help="How many of the best units by gradients are tried.")
    ] = 24,
    controls: Annotated[int, typer.Option(help="Random circuits beside it.")] = 20,
    dictionary: common.OnlyThese = None,
    seed: common.Seed = 0,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Find the few units that carry a behaviour over many prompts, and measure them on others.

    Units are attention heads, the neurons of an MLP, or features, each in one role: at the tokens
    of one part of the prompts. The first MLP, which stands for the word alone, is left out. They
    are chosen on half of the prompts; exchange, faithfulness, completeness and random circuits are
    measured on the other half.
    """
    from inscape.circuits import circuit, read_set

    examples = read_set(set, num, seed)
    kinds = tuple(units or ("heads", "mlps"))
    traced = common.open_traced(source, dictionary, model, device, bos)
    found = circuit(
        traced.model,
        examples,
        traced.dictionaries,
        kinds=kinds,
        max_members=max_members,
        candidates=candidates,
        controls=controls,
        seed=seed,
        about=set,
        names=traced.names,
    )
    traced.show(found, json)
