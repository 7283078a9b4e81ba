"""Whether an imported dictionary is read as it was meant: its figures on a text, and likely causes.

1. The dictionary is spliced in: FVU, L0 and the loss recovered (`intervention.fidelity`).
2. An FVU above 1, or an L0 less than half or more than twice the documented one, is a mismatch. So
   is another layer that fits much better, which neighbours in the residual stream hide.
3. For a mismatch what is commonly wrong is tried on a sample of tokens: activations in other units,
   each token normalised, the norm's gain left out, with or without beginning-of-text, another
   activation. The change that leaves by far the least unexplained is named, with both figures.

The sample holds tokens that count in step 1 and are no attention sinks at any layer that is tried:
one sink's norm can outweigh all other tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from inscape.atlas.quality import Row, batches, text_rows
from inscape.core import DataError
from inscape.dictionary import Dictionary, DictionaryConfig
from inscape.intervention import fidelity
from inscape.model import Model, Site, find_sinks
from inscape.model.prompt import medians

SAMPLE = 512  # tokens that the causes are tried on
MUCH_BETTER = 0.5  # a cause is named where it leaves less than this part of what was unexplained
OTHER_LAYER = 0.75  # the same for another layer where nothing else is wrong

Pair = tuple[Float[Tensor, "n d_in"], Float[Tensor, "n d_out"]]
"""What a dictionary reads, and what it should give."""


@dataclass(frozen=True)
class Fit:
    """How a dictionary does on a text.

    Attributes:
        fvu, l0, loss_recovered: as of `Fidelity` (loss recovered over zero ablation; None where
            that does not cost anything).
        expected_l0: what its files say, None where they do not.
        num_tokens: what it was measured on.
        warning: what is wrong and its likely cause; None where nothing is.
    """

    fvu: float
    l0: float
    loss_recovered: float | None
    expected_l0: int | None
    num_tokens: int
    warning: str | None

    def line(self) -> str:
        """The figures in one line."""
        documented = "" if self.expected_l0 is None else f" (documented: {self.expected_l0})"
        recovered = "not said" if self.loss_recovered is None else f"{self.loss_recovered:.3g}"
        return (
            f"FVU {self.fvu:.3g}, L0 {self.l0:.3g}{documented}, loss recovered {recovered}, "
            f"on {self.num_tokens} tokens"
        )


def fit(
    model: Model, dictionary: Dictionary, text: Path | list[Row], *, max_tokens: int = 2048
) -> Fit:
    """The figures of a dictionary on a text, or on rows of one, with a warning for a mismatch.

    Raises:
        DataError: the text is empty or unreadable.
        SiteError: the model has no such site.
    """
    rows = text_rows(model, text, max_tokens) if isinstance(text, Path) else text
    if not rows:
        raise DataError("there is no text to measure on", expected="at least one row of it")
    found = fidelity(model, dictionary, batches(rows))
    expected = dictionary.k
    wrong = []
    if not found.fvu <= 1:
        wrong.append(f"FVU is {found.fvu:.3g}: it explains less than the mean would")
    if expected is not None and not expected / 2 <= found.l0 <= expected * 2:
        wrong.append(f"L0 is {found.l0:.3g} where its files say {expected}")
    several = dictionary.config.several
    cause = None if several else _cause(model, dictionary, rows, bool(wrong), found.fvu)
    if cause:
        wrong.append(f"likely cause: {cause}" if wrong else cause)
    elif wrong:
        wrong.append(
            "no other layer, scale, normalisation, beginning-of-text or activation does much "
            "better: is it a dictionary of this model?"
        )
    warning = "; ".join(wrong) or None
    recovered = found.said("loss_recovered_zero")
    return Fit(found.fvu, found.l0, recovered, expected, found.num_tokens, warning)


def _cause(
    model: Model, dictionary: Dictionary, rows: list[Row], wrong: bool, whole: float
) -> str | None:
    """The change that helps most, in words; None where none helps much. Where nothing is wrong,
    other layers alone are tried, and have to do better than FVU on the whole text (`whole`) too."""
    config, k = dictionary.config, dictionary.k
    read, written = (model.site(site) for site in (config.site_in, config.site_out))
    kinds = [site for site in model.sites() if site.kind in (read.kind, written.kind)]
    acts = _acts(model, rows, kinds)
    pair = acts[read], acts[written]
    plain = _unexplained(dictionary, pair)
    tried: dict[str, float] = {}
    for site in kinds:
        there = Site(written.kind, site.layer)
        if site.kind == read.kind and site != read and there in acts:
            away = _unexplained(dictionary, (acts[site], acts[there]))
            tried[f"the wrong layer ({site} fits better)"] = away
    if wrong:
        for said, change in _changes(model, read, pair[0]):
            tried[said] = _unexplained(dictionary, pair, change)
        others = _acts(model, [_other_start(model, row) for row in rows], [read, written])
        start = "without" if model.bos_id is not None else "with"
        away = _unexplained(dictionary, (others[read], others[written]))
        tried[f"beginning-of-text (it fits text {start} it)"] = away
        if k is not None:
            better = "relu" if config.kind == "topk" else f"the {k} largest of each token"
            away = _unexplained(_other_activation(dictionary, k), pair)
            tried[f"the activation ({better} fits better)"] = away
    tried = {said: away for said, away in tried.items() if math.isfinite(away)}
    said = min(tried, key=tried.__getitem__, default="")
    much = MUCH_BETTER * min(plain, 1.0) if wrong else OTHER_LAYER * min(plain, whole)
    helps = bool(said) and (tried[said] < much or (wrong and not math.isfinite(plain)))
    return f"{said}: FVU {tried[said]:.3g} instead of {plain:.3g}" if helps else None


def _acts(model: Model, rows: list[Row], sites: list[Site]) -> dict[Site, Float[Tensor, "n d"]]:
    """What the sites hold at the first tokens that count and are no sinks at any of them."""
    parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
    left = SAMPLE
    for ids, words, _ in rows:
        tokens = torch.tensor([list(ids)], device=model.device)
        counted = model.counted(tokens, torch.tensor([list(words)]))[0]
        run = model.run(tokens, read=sites)
        streams = [site for site in sites if site.kind.startswith("resid_")]
        norms = {str(site): run[site].float().norm(dim=-1).cpu() for site in streams}
        if norms:
            counted &= ~find_sinks(norms, medians(norms, counted[None].cpu()))[0].to(model.device)
        for site, held in parts.items():
            held.append(run[site][0][counted][:left].float())
        left -= min(left, int(counted.sum()))
        if not left:
            break
    return {site: torch.cat(held) for site, held in parts.items()}


Change = Callable[[Tensor], tuple[Tensor, Tensor | float, Tensor | float]]
"""What is read instead of x, and by what and to what a reconstruction of x is brought back."""


def _changes(model: Model, read: Site, x: Tensor) -> Iterator[tuple[str, Change]]:
    """What may have been done to activations before the dictionary saw them."""
    scales = {2.0**n: f"{2.0**n:g} times their size" for n in range(-6, 7) if n}
    unit = x.shape[1] ** 0.5 / float(x.norm(dim=1).mean())
    scales[unit] = "a mean norm of the square root of their width"
    for scale, said in scales.items():
        yield f"a missing scale (activations of {said} fit)", _times(scale)
    yield "missing normalisation (each token to mean 0 and deviation 1)", _standardised
    yield "missing normalisation (each token to one norm)", _of_one_norm
    if read.kind == "mlp_in" and read.layer is not None:
        norm = model.structure.blocks[read.layer].mlp_norm
        gain = None if norm is None else norm.weight
        if gain is not None:
            yield "the norm's gain (it reads what comes before it)", _times(1 / gain)


def _times(scale: float | Tensor) -> Change:
    return lambda x: (x * scale, 1 / scale, 0.0)


def _standardised(x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
    mean, std = x.mean(1, keepdim=True), x.std(1, keepdim=True) + 1e-5
    return (x - mean) / std, std, mean


def _of_one_norm(x: Tensor) -> tuple[Tensor, Tensor | float, Tensor | float]:
    return _times(x.shape[1] ** 0.5 / x.norm(dim=1, keepdim=True))(x)


def _other_start(model: Model, row: Row) -> Row:
    """The row without its beginning-of-text token, or with one where the model has none."""
    ids, counted, document = row
    if model.bos_id is not None and ids and ids[0] == model.bos_id and len(ids) > 1:
        return ids[1:], counted[1:], document
    start = model.bos_id if model.bos_id is not None else (model.end_ids or [0])[0]
    return [start, *ids[:-1]], [False, *counted[:-1]], document


def _other_activation(dictionary: Dictionary, k: int) -> Dictionary:
    """The k largest of each token in place of thresholds, and relu in place of that."""
    config, weights = dictionary.config, dict(dictionary.weights)
    if config.kind == "topk":
        weights["threshold"] = torch.zeros_like(dictionary.b_enc)
        over = {"kind": "threshold", "scope": "token", "weighted": False, "signed": False}
    else:
        over = {"kind": "topk", "k": min(k, config.d_dict), "signed": False}
    return Dictionary(DictionaryConfig(**{**config.model_dump(), **over}), weights)


@torch.no_grad()
def _unexplained(dictionary: Dictionary, pair: Pair, change: Change | None = None) -> float:
    """The fraction of variance unexplained; of a transcoder whose input was changed, up to a factor
    of its output, which is not known."""
    x, y = pair
    if change is None:
        found = dictionary(x).to(y)
    else:
        changed, factor, offset = change(x)
        found = dictionary(changed).to(y)
        if dictionary.config.transcoder:
            factor, offset = (found * y).sum() / found.square().sum().clamp_min(1e-30), 0.0
        found = found * factor + offset
    return float((y - found).square().sum() / (y - y.mean(0)).square().sum())
