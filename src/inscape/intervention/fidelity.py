"""How much of a model's behaviour a dictionary keeps.

1. First pass: the mean of every site that a dictionary writes, over the tokens that count
   (beginning-of-text tokens never do).
2. Second pass, batch by batch: the model as it is; with the reconstruction spliced in; with the
   site set to zero; with the site set to its mean. Tokens that do not count keep their own
   activations in all four, and predictions at or of them are left out. The head is applied to a
   few positions at a time: logits of a whole batch would take gigabytes.
3. Loss recovered = (CE_floor − CE_dict) / (CE_floor − CE_clean), for both floors; it says nothing
   where the floor is not clearly above the model's own loss (`said`).
4. FVU = Σ‖x − x̂‖² / Σ‖x − mean(x)‖²: around the mean, so that an offset shared by all tokens
   explains nothing.
5. Intervals: bootstrap over documents (95 %), since tokens of one document are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inscape.core import InputError, track
from inscape.dictionary import Dictionary
from inscape.dictionary.arithmetic import ROWS
from inscape.intervention.splice import as_list, replace_by, splice
from inscape.model import Inputs, Model, Site

Batch = Tensor | tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Sequence[int]]
Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 1000
_KL = {"ce_dict": "kl", "ce_zero": "kl_zero"}  # variants whose predictions are held to the clean
_PER_TOKEN = ("cosine", "norm_in", "norm_out", "norm_ratio", "l1", "token_ev")
LOGITS = 1 << 23  # entries of a chunk of logits in fp32 (32 MB), of which a few live at a time


@dataclass(frozen=True)
class Fidelity:
    """What splicing keeps. Losses in nats per token.

    loss_recovered_zero/_mean: fraction of the loss recovered over zero and mean ablation of the
    same sites. extra_ce: CE_dict − CE_clean. kl: KL(clean ‖ spliced) in nats. fvu, ev (centred
    explained variance), l0: on clean activations, of several dictionaries together (l0: the mean).
    num_tokens: activations that count; num_predictions: next-token losses that count.
    kl_zero: KL(clean ‖ zeros in place of the sites). On clean activations, per token: mse (of a
    channel), cosine, the norms of what is there and of the reconstruction, ratio of the two norms,
    bias (E‖x̂‖² / E x·x̂: below 1 it shrinks), l1 (of the activations of features), token_ev (the
    mean over tokens of 1 − ‖x − x̂‖² / ‖x − mean(x)‖²).
    interval: 95 % bootstrap intervals over documents, for the figures named in it, and for what
    ablation costs (cost_zero, cost_mean: CE_floor − CE_clean).
    """

    ce_clean: float
    ce_dict: float
    ce_zero: float
    ce_mean: float
    extra_ce: float
    loss_recovered_zero: float
    loss_recovered_mean: float
    kl: float
    fvu: float
    ev: float
    l0: float
    num_tokens: int
    num_predictions: int
    num_documents: int
    kl_zero: float | None = None
    mse: float | None = None
    cosine: float | None = None
    norm_in: float | None = None
    norm_out: float | None = None
    norm_ratio: float | None = None
    bias: float | None = None
    l1: float | None = None
    token_ev: float | None = None
    interval: dict[str, Interval] = field(default_factory=dict)

    def said(self, name: str) -> float | None:
        """A figure by its name; None where it says nothing: a share of the loss recovered where
        ablation does not clearly cost anything."""
        found: float | None = getattr(self, name)
        floor = name.removeprefix("loss_recovered_")
        if floor == name:
            return found
        cost = getattr(self, f"ce_{floor}") - self.ce_clean
        low, _ = self.interval.get(f"cost_{floor}", (cost, cost))
        return found if low > 0 else None

    def to_json(self) -> dict[str, object]:
        """Plain JSON values, keys equal to the fields' names."""
        return asdict(self)


@torch.no_grad()
def fidelity(
    model: Model,
    dictionaries: Dictionary | Sequence[Dictionary],
    token_batches: Iterable[Batch],
    *,
    seed: int = 0,
) -> Fidelity:
    """Measures one dictionary, or several spliced in together.

    token_batches: token ids [batch, pos]; or ids and a mask [batch, pos] that is True for tokens
        that count (False for padding on the right and attention sinks); or these two and the
        number of each row's document, without which each row is one of its own.
    Raises InputError when no prediction counts, or a loss is not finite.
    """
    chosen = as_list(dictionaries)
    model.require_one_device("measuring fidelity")
    batches = [_counted(model, batch) for batch in token_batches]
    if not any(bool(_predictions(counted).any()) for _, counted, _ in batches):
        raise InputError("no token counts", expected="rows of at least two tokens after BOS")
    means = _means(model, chosen, batches)
    parts: dict[str, list[Tensor]] = defaultdict(list)
    owners: list[object] = []
    for number, (tokens, counted, documents) in enumerate(
        track(batches, "fidelity", unit="batches")
    ):
        for name, row_sums in _measured(model, chosen, means, tokens, counted).items():
            parts[name].append(row_sums.double().cpu())
        owners += documents or [(number, row) for row in range(len(tokens))]
    order = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}
    place = np.array([order[owner] for owner in owners])
    sums = {
        name: np.bincount(place, torch.cat(rows).numpy()).astype(np.float64)
        for name, rows in parts.items()
    }
    for name in ("ce_clean", "ce_dict"):
        if not np.isfinite(sums[name]).all():
            cause = "the model" if name == "ce_clean" else " and ".join(d.name for d in chosen)
            raise InputError(
                f"the loss is not finite with {cause}", next_step="check those weights for NaN"
            )
    num = len(order)
    point = _figures({name: values.sum() for name, values in sums.items()}, len(chosen))
    interval: dict[str, Interval] = {}
    if num > 1:
        draw = np.random.default_rng(seed)
        weights = draw.multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = {name: weights @ values for name, values in sums.items()}
            samples = _figures(drawn, len(chosen))
        for name, values in samples.items():
            finite = values[np.isfinite(values)]
            if len(finite):
                low, high = np.quantile(finite, [0.025, 0.975])
                interval[name] = (float(low), float(high))
        for floor in ("zero", "mean"):
            cost = samples[f"ce_{floor}"] - samples["ce_clean"]
            low, high = np.quantile(cost, [0.025, 0.975])
            interval[f"cost_{floor}"] = (float(low), float(high))
    return Fidelity(
        **{name: float(value) for name, value in point.items()},
        num_tokens=int(sums["tokens"].sum()),
        num_predictions=int(sums["predictions"].sum()),
        num_documents=num,
        interval=interval,
    )


def _counted(model: Model, batch: Batch) -> tuple[Tensor, Tensor, Sequence[int]]:
    tokens, counted, documents = (
        (*batch, (), ())[:3] if isinstance(batch, tuple) else (batch, (), ())
    )
    tokens = tokens.to(model.device)
    words = counted.to(model.device, torch.bool) if isinstance(counted, Tensor) else None
    return tokens, model.counted(tokens, words), documents


def _predictions(counted: Bool[Tensor, "batch pos"]) -> Bool[Tensor, "batch next"]:
    """Where a token that counts predicts one that counts."""
    return counted[:, :-1] & counted[:, 1:]


def _means(
    model: Model,
    dictionaries: Sequence[Dictionary],
    batches: Sequence[tuple[Tensor, Tensor, object]],
) -> dict[Site, Tensor]:
    sites = [model.site(site) for d in dictionaries for site in d.writes]
    total: dict[Site, Tensor] = {}
    count = 0
    for tokens, counted, _ in batches:
        run = model.run(tokens, read=sites)
        count += int(counted.sum())
        for site in sites:
            part = run[site][counted].double().sum(0)
            total[site] = total[site] + part if site in total else part
    return {site: value / max(count, 1) for site, value in total.items()}


def _measured(
    model: Model,
    dictionaries: Sequence[Dictionary],
    means: dict[Site, Tensor],
    tokens: Int[Tensor, "batch pos"],
    counted: Bool[Tensor, "batch pos"],
) -> dict[str, Float[Tensor, " batch"]]:
    """Sums over each row of tokens, by name."""
    there = _predictions(counted)
    sums = {"tokens": counted.sum(1), "predictions": there.sum(1)}
    sites = {site for d in dictionaries for site in (*d.reads, *d.writes)}
    run = model.run(tokens, read=[*sorted(sites), "final"])
    for d in dictionaries:
        read, written = (
            torch.cat([run[site][counted] for site in part], -1) for part in (d.reads, d.writes)
        )
        mean = torch.cat([means[model.site(site)] for site in d.writes])
        for name, values in _reconstruction(d, read, written, mean).items():
            rows = torch.zeros(len(tokens), dtype=torch.float64)
            rows.index_add_(0, counted.nonzero()[:, 0].cpu(), values)
            sums[name] = sums.get(name, 0) + rows
    finals = {"ce_clean": run["final"][:, :-1][there]}
    variants = {
        "ce_dict": splice(model, dictionaries),
        "ce_zero": replace_by(model, dict.fromkeys(means, 0.0)),
        "ce_mean": replace_by(model, dict(means)),
    }
    for name, edits in variants.items():
        edited = model.run(Inputs(tokens, counted=counted), edits=edits, read=["final"])
        finals[name] = edited["final"][:, :-1][there]
    owner = there.nonzero()[:, 0].cpu()
    for name, values in _losses(model, finals, tokens[:, 1:][there]).items():
        sums[name] = values.new_zeros(len(tokens)).index_add_(0, owner, values)
    return sums


def _losses(
    model: Model, finals: dict[str, Float[Tensor, "n d_model"]], following: Int[Tensor, " n"]
) -> dict[str, Float[Tensor, " n"]]:
    """The loss of every prediction under each variant, and KL(clean ‖ variant) of two, float64 [n];
    `finals` are what the head reads. A chunk of logits at a time."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    step = max(1, LOGITS // model.vocab_size)
    for start in range(0, max(1, len(following)), step):
        chunk = slice(start, start + step)
        clean: Tensor | None = None
        for name, final in finals.items():
            logs = torch.log_softmax(model.unembed(final[chunk]), -1)
            parts[name].append(-logs.gather(-1, following[chunk, None])[:, 0])
            if clean is None:
                clean = logs
            elif name in _KL:
                parts[_KL[name]].append((clean.exp() * (clean - logs)).sum(-1))
    return {name: torch.cat(values).cpu().double() for name, values in parts.items()}


def _reconstruction(
    dictionary: Dictionary,
    x: Float[Tensor, "n d_in"],
    y: Float[Tensor, "n d_out"],
    mean: Float[Tensor, " d_out"],
) -> dict[str, Float[Tensor, " n"]]:
    """What the figures of each token are made of: squared error, squared distance from the mean,
    active features, and the like."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for read, written in zip(torch.split(x, ROWS), torch.split(y, ROWS), strict=True):
        code = dictionary.encode(read)
        if dictionary.config.several:
            found = dictionary.decode(code, read).to(written.device)
        else:  # of neurons what they are themselves, not what they write
            found = dictionary.write(dictionary.writes[0], code, read).to(written.device)
        there, found = written.double(), found.double()
        norms = there.norm(dim=-1), found.norm(dim=-1)
        dot = (there * found).sum(-1)
        error, spread = ((there - other).square().sum(-1) for other in (found, mean))
        parts["error"].append(error)
        parts["spread"].append(spread)
        parts["token_ev"].append(1 - error / spread.clamp(min=1e-12))
        parts["active"].append(code.active.sum(1))
        parts["l1"].append(code.values.abs().sum(1))
        parts["norm_in"].append(norms[0])
        parts["norm_out"].append(norms[1])
        parts["norm_ratio"].append(norms[1] / norms[0].clamp(min=1e-12))
        parts["cosine"].append(dot / (norms[0] * norms[1]).clamp(min=1e-12))
        parts["dot"].append(dot)
        parts["square"].append(norms[1].square())
        parts["channels"].append(torch.full_like(dot, there.shape[-1]))
    return {name: torch.cat(values).cpu().double() for name, values in parts.items()}


def _figures(sums: dict[str, Floats], num_dictionaries: int) -> dict[str, Floats]:
    """Every figure from its sums (numbers, or one number per resample)."""
    count = sums["predictions"]
    ce = {name: _ratio(sums[name], count) for name in ("ce_clean", "ce_dict", "ce_zero", "ce_mean")}
    fvu = _ratio(sums["error"], sums["spread"])
    tokens = sums["tokens"] * num_dictionaries
    return {
        **ce,
        "extra_ce": ce["ce_dict"] - ce["ce_clean"],
        "loss_recovered_zero": _recovered(ce, "ce_zero"),
        "loss_recovered_mean": _recovered(ce, "ce_mean"),
        "kl": _ratio(sums["kl"], count),
        "fvu": fvu,
        "ev": 1 - fvu,
        "l0": _ratio(sums["active"], tokens),
        "kl_zero": _ratio(sums["kl_zero"], count),
        "mse": _ratio(sums["error"], sums["channels"]),
        "bias": _ratio(sums["square"], sums["dot"]),
        **{name: _ratio(sums[name], tokens) for name in _PER_TOKEN},
    }


def _recovered(ce: dict[str, Floats], floor: str) -> Floats:
    return _ratio(ce[floor] - ce["ce_dict"], ce[floor] - ce["ce_clean"])


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Floats:
    """above / below; not a number where below is 0."""
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    full = np.full(np.broadcast(top, bottom).shape, np.nan)
    return np.asarray(np.divide(top, bottom, out=full, where=bottom != 0))
