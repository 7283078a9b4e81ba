"""The demo's report as plain data: report.json is this object, report.html is rendered from it.

Every class is frozen, keyword-only and refuses unknown fields. Intervals are 95 %. Losses are in
nats per token. Features are written `dictionary/index`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

import inscape
from inscape.core import Share
from inscape.diagnosis import Diagnosis
from inscape.report import GraphPicture
from inscape.storage import Result, plain
from inscape_microworld.report.figures import Bar, Check, Figure, Measure, Number, Part, Text


class Step(Part):
    """One step of the chain and how long it took."""

    name: Text
    seconds: float


class Header(Part):
    """What the report is about and how it was made."""

    model: Text
    num_parameters: int
    num_tokens: int
    seed: int
    title: Text = "What the model is thinking"
    summary: Text = ""
    steps: tuple[Step, ...] = ()
    hardware: Text = ""
    version: Text = Field(default_factory=lambda: inscape.__version__)


class DictionaryRow(Part):
    """A dictionary with its figures; `num_dead_tokens` is what the dead share rests on."""

    name: Text
    site_in: Text
    site_out: Text
    d_dict: int
    k: int | None
    fvu: Measure | None = None
    l0: Measure | None = None
    dead: Measure | None = None
    num_dead_tokens: int | None = None
    loss_recovered_zero: Measure | None = None
    loss_recovered_mean: Measure | None = None
    extra_ce: Measure | None = None
    skills: tuple[Check, ...] = ()
    note: Text = ""


class FeatureName(Part):
    """A feature: `dictionary/index`, and its label where it has one."""

    dictionary: Text
    index: int
    label: Text | None = None

    @property
    def name(self) -> str:
        """dictionary/index."""
        return f"{self.dictionary}/{self.index}"


class TokenEffect(Part):
    """A token and how much a feature raises its logit, per unit of activation."""

    token: Text
    value: Number


class Snippet(Part):
    """Text with the feature's activation on every token; 0 where it does not fire."""

    tokens: tuple[Text, ...]
    values: tuple[float, ...]
    source: Text = ""

    @model_validator(mode="after")
    def _aligned(self) -> Snippet:
        if len(self.tokens) != len(self.values):
            raise ValueError(f"{len(self.tokens)} tokens but {len(self.values)} values")
        return self


class Concept(Part):
    """A named concept and the feature found for it; figures are from the half that judges.

    `beside`: the same task done by other means, such as the best single-token detector.
    """

    title: Text
    description: Text
    feature: FeatureName
    auroc: Measure | None = None
    f1: Measure | None = None
    precision: Measure | None = None
    recall: Measure | None = None
    beside: tuple[Check, ...] = ()
    promoted: tuple[TokenEffect, ...] = ()
    suppressed: tuple[TokenEffect, ...] = ()
    examples: tuple[Snippet, ...] = ()
    note: Text = ""


class Trace(Part):
    """A traced prompt: what it shows, in a sentence or two, and the picture."""

    title: Text
    description: Text = ""
    picture: GraphPicture
    checks: tuple[Check, ...] = ()


class PromptSet(Part):
    """A share of answers on a named set of prompts, before and after an intervention."""

    name: Text
    before: Figure
    after: Measure


class BaselineRow(Part):
    """What a plain method repairs, on the same sets of prompts."""

    name: Text
    setting: Text = ""
    after: dict[str, Share]


class DiagnosisView(Part):
    """A diagnosis with its title, the plain methods beside it, and figures against thresholds."""

    title: Text
    description: Text = ""
    diagnosis: Diagnosis
    baselines: tuple[BaselineRow, ...] = ()
    bars: dict[str, Bar] = Field(default_factory=dict)
    checks: tuple[Check, ...] = ()


class DosePoint(Part):
    """One strength: the effect over the prompts, and its price in fluency.

    loss: nats per token of the unmodified model on the text; extra_loss: less that at strength 0.
    """

    strength: float
    effect: Figure
    loss: Number = None
    extra_loss: Number = None


class DoseLine(Part):
    """One way to steer, over strengths. A line of one dose is drawn as a level."""

    name: Text
    kind: Literal["feature", "difference in means", "random direction", "prompting", "other"]
    doses: tuple[DosePoint, ...]


class Sample(Part):
    """A prompt continued plain and steered."""

    prompt: Text
    plain: Text
    steered: Text
    note: Text = ""


class SteeringStudy(Part):
    """A steering experiment over a prompt set.

    measure: what the effect figure is, such as "share of continuations that name the bridge";
    sets: the measure on named sets of prompts, before and after.
    """

    title: Text
    description: Text = ""
    measure: Text
    strength_unit: Text = "times the feature's largest activation"
    features: tuple[FeatureName, ...] = ()
    num_prompts: int = 0
    lines: tuple[DoseLine, ...] = ()
    sets: tuple[PromptSet, ...] = ()
    outcomes: tuple[Check, ...] = ()
    samples: tuple[Sample, ...] = ()


class Report(Part, Result):
    """All that the page shows, in its order."""

    SCHEMA: ClassVar[str] = "inscape.microworld.report"
    MADE_BY: ClassVar[str] = "demo"

    header: Header
    dictionaries: tuple[DictionaryRow, ...] = ()
    concepts: tuple[Concept, ...] = ()
    traces: tuple[Trace, ...] = ()
    diagnoses: tuple[DiagnosisView, ...] = ()
    steering: tuple[SteeringStudy, ...] = ()
    validation: tuple[Check, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with schema and version."""
        content = plain(self.model_dump(mode="json"))
        return {"schema": self.SCHEMA, "version": self.VERSION, **content}
