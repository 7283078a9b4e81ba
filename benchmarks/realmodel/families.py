"""Every family of tests/families.py, tiny and random: sites, edits, early stop, edges."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tests.attribution.random_transcoders import TOKENS, random_transcoders
from tests.families import OTHER_LAYOUTS, TRACED_FAMILIES, UNTRACED_FAMILIES, tiny
from torch import Tensor

from benchmarks.measurement import Measurement, Run
from inscape.attribution import trace
from inscape.core import ModelError
from inscape.model import Model
from inscape.model import Run as ModelRun
from inscape.validation import check_edges
from inscape_microworld.benchmark import Check, Row


@dataclass(frozen=True)
class FamilyCheck:
    """What holds on a tiny random model of one family; errors are relative to what they concern.

    sums: resid_pre + attn_out + mlp_out against resid_post, where its adapter does not say that
    they do not add up. edits: the same change made at two
    sites that must have the same effect. stop: whether sites read alone are those of a whole pass.
    edge: the largest error of an edge against its intervention; None where tracing is refused, for
    `reason`.
    """

    num_sites: int
    sums: float
    edits: float
    stop: bool
    edge: float | None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether all of it is within 1e-4 (an untraced family: all that it has)."""
        return self.stop and max(self.sums, self.edits, self.edge or 0.0) <= 1e-4


def check_family(family: str) -> FamilyCheck:
    """The checks of one family (of tests/families.py)."""
    model = Model.wrap(tiny(family), name=family)
    tokens = torch.tensor([TOKENS, TOKENS[::-1]])
    run = model.run(tokens, read=model.sites(), logits="all")
    edge, reason = None, ""
    try:
        transcoders = random_transcoders(model)
        graph = trace(model, TOKENS, transcoders)
        check = check_edges(model, transcoders, graph)
        edge = max(check.max_error, check.bias_error or 0.0)
    except ModelError as error:
        reason = str(error).partition(";")[0]
    return FamilyCheck(
        num_sites=len(model.sites()),
        sums=_sums(model, run),
        edits=_edits(model, tokens),
        stop=all(torch.equal(model.run(tokens, read=[s])[s], run[s]) for s in model.sites()),
        edge=edge,
        reason=reason,
    )


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def _sums(model: Model, run: ModelRun) -> float:
    """Of every block, what its parts add against how the stream moves; and logits of `final`."""
    assert run.logits is not None
    errors = [_error(model.unembed(run["final"]), run.logits)]
    names = {str(site) for site in model.sites()}
    for i in range(model.num_layers):
        added = [run[name] for name in (f"attn_out.{i}", f"mlp_out.{i}") if name in names]
        if added and model.adapter.adds:
            errors.append(_error(sum(added), run[f"resid_post.{i}"] - run[f"resid_pre.{i}"]))
        if i + 1 < model.num_layers:
            errors.append(_error(run[f"resid_pre.{i + 1}"], run[f"resid_post.{i}"]))
    return max(errors)


def _edits(model: Model, tokens: Tensor) -> float:
    """Each pair of sites at which the same change must have the same effect on the logits."""
    names, errors = {str(site) for site in model.sites()}, []
    change = torch.linspace(-1, 1, model.d_model)
    for i in range(model.num_layers):
        end = f"resid_pre.{i + 1}" if i + 1 < model.num_layers else None
        pairs = [(f"attn_out.{i}", f"resid_mid.{i}")]
        pairs += [(f"mlp_out.{i}", f"resid_post.{i}")] if model.adapter.adds else []
        pairs += [(f"resid_post.{i}", end)] if end else []
        for pair in pairs:
            if names.issuperset(pair):
                one, two = (_logits(model, tokens, site, change) for site in pair)
                errors.append(_error(one, two))
        for site in sorted(name for name in names if name.endswith(f".{i}")):
            width = model.width(site)  # and every edit has an effect
            moved = _logits(model, tokens, site, torch.linspace(-1, 1, width))
            assert _error(moved, _logits(model, tokens, site, torch.zeros(width))) > 1e-4, site
    return max(errors, default=0.0)


def _logits(model: Model, tokens: Tensor, site: str, change: Tensor) -> Tensor:
    logits = model.run(tokens, edits={site: lambda x: x + change}, logits="all").logits
    assert logits is not None
    return logits


def families(run: Run) -> Row:
    """The worst of each figure over all families; each is printed."""
    worst, fallen = dict.fromkeys(("sums", "edits", "edges"), 0.0), 0
    known = (*TRACED_FAMILIES, *OTHER_LAYOUTS, *UNTRACED_FAMILIES)
    for name in known:
        check = check_family(name)
        held = check.holds and (check.edge is None) == (name in UNTRACED_FAMILIES)
        fallen += not held
        found = (check.sums, check.edits, check.edge or 0.0)
        worst = {key: max(worst[key], value) for key, value in zip(worst, found, strict=True)}
        edge = check.reason if check.edge is None else f"edges {check.edge:.1e}"
        print(
            f"  {'holds' if held else 'SHORT'} {name:<24} {check.num_sites} sites, sums "
            f"{check.sums:.1e}, edits {check.edits:.1e}, {edge}",
            flush=True,
        )
    return Row(
        "real-families",
        "tiny random models of every family: sites, edits, early stop, edges against interventions",
        (
            Check("families that do not hold", fallen, "≤ 0"),
            *(Check(f"largest error of {key}", value, "≤ 0.0001") for key, value in worst.items()),
        ),
        f"{len(known)} families and layouts, {len(UNTRACED_FAMILIES)} of them not traced",
    )


FIGURES = {"real-families": Measurement(families, seeded=False)}
