"""Every planted fault diagnosed, without twins and without being given the wrong answer.

1. The diagnosis gets the prompts and right answers of the selection half, and controls. Its repair
   is judged on the other half, whose triggers it has not seen, on prompts on which the wrong
   answer is right, and on prompts that the fault has no part in.
2. The token that it blames, in each held-out prompt: where the features of its repair (its
   strongest suspects, where there is no repair) are most active, each weighed by its effect.
3. The concept that it blames: what the feature with the greatest effect stands for, by the
   corpus's truth on the documents of the benchmark.
4. Beside it: leaving one token out, input × gradient, and the wrong answer's own direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inscape.core import Share, track
from inscape.diagnosis import Case, Diagnosis, RandomControl, diagnose, encode, shares
from inscape.dictionary import Dictionary
from inscape.model import Model
from inscape.storage import plain
from inscape_microworld.benchmark.faults import HELD_OUT, OTHERS, RIVALS
from inscape_microworld.benchmark.plain_methods import CAUSES, Baseline, baselines
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.sets import cases
from inscape_microworld.benchmark.system import System
from inscape_microworld.faults import Fault, FaultPrompt
from inscape_microworld.skills import answer_tokens

ConceptOf = Callable[[str, int], str | None]
"""(dictionary, feature) → the concept that it stands for, if any."""
MOST_CONTROLS = 120
NUM_BLAMED = 24
"""Held-out prompts in which the blamed token is looked up."""


@dataclass(frozen=True)
class FaultScore:
    """What the diagnosis made of one planted fault.

    shown: prompts on which the fault shows, and twins that are right. trigger: how often the
    blamed token is one of the trigger's, by method; chance is the trigger's share of the tokens.
    """

    name: str
    kind: str
    mechanism: str
    verdict: str
    concept: str
    blamed: tuple[str, ...]
    shown: Share
    twins: Share
    trigger: Mapping[str, Share]
    chance: float
    before: Mapping[str, Share]
    after: Mapping[str, Share]
    random: RandomControl
    baselines: tuple[Baseline, ...]
    num_features: int

    @property
    def concept_found(self) -> bool:
        """Whether the blamed feature of the greatest effect stands for the responsible concept."""
        return bool(self.blamed) and self.blamed[0] == self.concept

    @property
    def mechanism_found(self) -> bool:
        """Whether the verdict names the mechanism, word for word."""
        return self.verdict == self.mechanism

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shown = {
            k: v
            for k, v in vars(self).items()
            if not isinstance(v, Share | RandomControl | Mapping | tuple)
        }
        return {
            **shown,
            "blamed": list(self.blamed),
            "concept_found": self.concept_found,
            "mechanism_found": self.mechanism_found,
            **{k: plain(getattr(self, k)) for k in ("shown", "twins", "random")},
            **{
                k: {name: share.to_json() for name, share in getattr(self, k).items()}
                for k in ("trigger", "before", "after")
            },
            "baselines": {
                b.name: {name: share.to_json() for name, share in b.after.items()}
                for b in self.baselines
            },
        }


def score_fault(
    system: System,
    planted: Fault,
    *,
    model: Model | None = None,
    concept_of: ConceptOf = lambda dictionary, feature: None,
    seed: int = 0,
) -> FaultScore:
    """Diagnose one fault; `model` is the edited model of a fault that is made by an edit."""
    model = model or system.model
    sets = {
        HELD_OUT: cases(planted.held_out),
        RIVALS: cases(planted.rivals_held_out),
        OTHERS: cases(planted.others_held_out),
    }
    judged = {name: found for name, found in sets.items() if found}  # not every fault has rivals
    controls = cases((*planted.rivals_selection, *planted.others_selection))
    found = diagnose(
        model,
        system.dictionaries,
        cases(planted.selection),
        controls=controls[:: max(1, len(controls) // MOST_CONTROLS)],
        judged_on=judged,
        num_random=20,
        seed=seed,
    )
    site, mean = system.site, system.residual.b_dec
    beside = baselines(model, site, mean, cases(planted.selection), judged)
    wrong = [Case(p.text, p.wrong) for p in planted.prompts if p.wrong]
    right = cases(planted.prompts)
    shown = shares(model, {"shown": wrong or right})["shown"]
    if not wrong:
        shown = Share(shown.total - shown.count, shown.total)
    trigger, chance = _triggers(model, system.dictionaries, planted.held_out[:NUM_BLAMED], found)
    suspects = found.removed or found.for_wrong
    strongest = sorted(suspects, key=lambda s: -s.margin)[:5]
    blamed = tuple(concept_of(s.dictionary, s.feature) or "" for s in strongest)
    return FaultScore(
        name=planted.name,
        kind=planted.kind,
        mechanism=planted.mechanism,
        verdict=found.mechanism,
        concept=planted.concept,
        blamed=blamed,
        shown=shown,
        twins=shares(model, {"twins": cases(p.twin for p in planted.prompts)})["twins"],
        trigger=trigger,
        chance=chance,
        before=found.before,
        after=found.after,
        random=found.random,
        baselines=tuple(beside),
        num_features=len(found.removed),
    )


def score_faults(
    system: System,
    planted: Sequence[tuple[Fault, Model | None]],
    *,
    concept_of: ConceptOf = lambda dictionary, feature: None,
    seed: int = 0,
) -> list[FaultScore]:
    """Every fault, with the edited model where it needs one."""
    return [
        score_fault(system, fault, model=model, concept_of=concept_of, seed=seed)
        for fault, model in track(list(planted), "diagnosing")
    ]


def _triggers(
    model: Model,
    dictionaries: Sequence[Dictionary],
    prompts: Sequence[FaultPrompt],
    found: Diagnosis,
) -> tuple[dict[str, Share], float]:
    """How often each method blames a token of the trigger; the trigger's share of the tokens."""
    batch = encode(model, cases(prompts))
    truth = [set(_positions(model, p)) for p in prompts]
    hits = dict.fromkeys(("features", *CAUSES), 0)
    for name, cause in CAUSES.items():
        named = cause(model, batch).tolist()
        hits[name] = sum(p in tokens for p, tokens in zip(named, truth, strict=True))
    for i, length in enumerate(batch.starts.tolist()):
        tokens = batch.tokens[i : i + 1, :length]
        hits["features"] += _most_active(model, dictionaries, tokens, found) in truth[i]
    share = sum(len(t) / (int(n) - 1) for t, n in zip(truth, batch.starts, strict=True))
    return {k: Share(n, len(prompts)) for k, n in hits.items()}, share / max(len(prompts), 1)


def _positions(model: Model, prompt: FaultPrompt) -> list[int]:
    """Positions of the trigger's tokens in the prompt."""
    start = prompt.text.index(prompt.trigger)
    encoded = model.tokenizer(prompt.text, return_offsets_mapping=True)
    return answer_tokens(encoded["offset_mapping"], start, start + len(prompt.trigger))


@torch.no_grad()
def _most_active(
    model: Model, dictionaries: Sequence[Dictionary], tokens: torch.Tensor, found: Diagnosis
) -> int | None:
    """The position where the blamed features are most active, weighed by their effects."""
    known = {d.name: d for d in dictionaries}
    suspects = found.removed or found.for_wrong
    if not suspects:
        return None
    sites = sorted({known[s.dictionary].config.site_in for s in suspects})
    run = model.run(tokens.to(model.device), read=sites)
    total = torch.zeros(tokens.shape[1])
    for name in {s.dictionary for s in suspects}:
        dictionary = known[name]
        code = dictionary.encode(run[dictionary.config.site_in][0].float())
        for s in suspects:
            if s.dictionary == name:
                total += max(s.margin, 0.0) * code.of(s.feature).cpu()
    if model.bos_id is not None:
        total[0] = 0
    return int(total.argmax()) if float(total.max()) > 0 else None


def row(scores: Sequence[FaultScore], *, seed: int = 0) -> Row:
    """All faults together: shares of faults for the verdicts, of prompts for repairs."""

    def pooled(shares: Sequence[Share]) -> Share:
        return Share(sum(s.count for s in shares), sum(s.total for s in shares))

    def of_faults(flags: Sequence[bool]) -> Share:
        return Share(sum(flags), len(flags))

    told: dict[str, Share] = {
        "trigger token, features": pooled([s.trigger["features"] for s in scores]),
        **{f"trigger token, {c}": pooled([s.trigger[c] for s in scores]) for c in CAUSES},
        "responsible concept": of_faults([s.concept_found for s in scores]),
        "responsible concept among the strongest five": of_faults(
            [s.concept in s.blamed for s in scores]
        ),
        "mechanism, edited kinds": of_faults([s.mechanism_found for s in scores if _edit(s)]),
        "mechanism, all kinds": of_faults([s.mechanism_found for s in scores]),
    }
    for what, name in (
        (HELD_OUT, "held-out prompts repaired"),
        (RIVALS, "prompts on which the wrong answer is right, kept"),
        (OTHERS, "other prompts, kept"),
    ):
        there = [s for s in scores if what in s.after]
        told[name] = pooled([s.after[what] for s in there])
        for k, baseline in enumerate(scores[0].baselines if scores else ()):
            told[f"{name}, {baseline.name}"] = pooled([s.baselines[k].after[what] for s in there])
    confusion = {s.name: f"{s.mechanism} → {s.verdict}" for s in scores}
    return Row(
        "faults",
        "planted faults diagnosed without twins and without being given the wrong answer",
        tuple(Check(name, s.value, "", s.interval) for name, s in told.items()),
        samples=f"{len(scores)} faults, {sum(s.shown.total for s in scores)} prompts",
        seed=seed,
        detail={
            "chance of the trigger token": sum(s.chance for s in scores) / max(len(scores), 1),
            "mechanism → verdict": confusion,
            "concept → blamed": {s.name: f"{s.concept} → {', '.join(s.blamed)}" for s in scores},
            "held-out repaired": {s.name: s.after[HELD_OUT].value for s in scores},
        },
    )


def _edit(score: FaultScore) -> bool:
    return score.kind == "edit"
