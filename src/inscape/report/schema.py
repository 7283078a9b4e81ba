"""The report as plain data. report.json is this object; report.html is rendered from it alone.

Every class is frozen, keyword-only and refuses unknown fields. Intervals are 95 %. Losses are in
nats per token. Features are written `dictionary/index`.
"""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic import Field, model_validator

import inscape
from inscape.core import DataError
from inscape.report.figures import Check, Figure, Measure, Number, Part, Text

SCHEMA = "inscape.report"
VERSION = 1


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
    k: int
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


class PictureNode(Part):
    """A node of a drawn graph. `layer` is None for tokens and targets.

    detail: what the node is in full, such as `mlp.2/123`.
    """

    kind: Literal["feature", "error", "embedding", "logit"]
    layer: int | None
    position: int
    name: Text
    detail: Text = ""
    activation: Number = None
    influence: Number = None
    probability: Number = None


class PictureEdge(Part):
    """A direct contribution, with its sign; `source` and `target` are places in `nodes`."""

    source: int
    target: int
    weight: float


class PicturePath(Part):
    """A path from a token to the target: names of its nodes, and the weights between them.

    strength: product of the shares of input along it; negative where it pushes the target down.
    """

    nodes: tuple[Text, ...]
    weights: tuple[float, ...]
    strength: float

    @model_validator(mode="after")
    def _aligned(self) -> PicturePath:
        if len(self.nodes) != len(self.weights) + 1:
            raise ValueError("a path has one node more than it has weights")
        return self


class GraphPicture(Part):
    """The strongest part of an attribution graph, small enough to be drawn and read."""

    prompt: Text
    prompt_tokens: tuple[Text, ...]
    target: Text
    num_layers: int
    nodes: tuple[PictureNode, ...]
    edges: tuple[PictureEdge, ...]
    paths: tuple[PicturePath, ...] = ()
    replacement: Number = None
    completeness: Number = None
    num_nodes: int | None = None
    num_edges: int | None = None
    notes: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _inside(self) -> GraphPicture:
        for edge in self.edges:
            if not (0 <= edge.source < len(self.nodes) and 0 <= edge.target < len(self.nodes)):
                raise ValueError(f"an edge {edge.source} → {edge.target} leaves the picture")
        for node in self.nodes:
            if not 0 <= node.position < len(self.prompt_tokens):
                raise ValueError(f"a node at position {node.position} is outside the prompt")
        return self


class Trace(Part):
    """A traced prompt: what it shows, in a sentence or two, and the picture."""

    title: Text
    description: Text = ""
    picture: GraphPicture
    checks: tuple[Check, ...] = ()


class ActiveToken(Part):
    """Where a feature is active on a prompt."""

    position: int
    token: Text
    activation: float


class SuspectRow(Part):
    """A feature with what its removal does, in logits, mean over the failing prompts.

    margin: what (wrong − right) loses; wrong, right: how those two logits move.
    """

    feature: FeatureName
    margin: float
    wrong: float
    right: float
    estimate: Number = None
    repaired: int | None = None
    tokens: tuple[ActiveToken, ...] = ()


class PromptSet(Part):
    """A share of answers on a named set of prompts, before and after an intervention."""

    name: Text
    before: Figure
    after: Measure


class NamedFigure(Part):
    """A figure with a name."""

    name: Text
    figure: Figure


class BaselineRow(Part):
    """What a plain method repairs, on the same sets of prompts."""

    name: Text
    setting: Text = ""
    after: tuple[NamedFigure, ...] = ()


class DiagnosisView(Part):
    """A failure, its verdict, and the interventions that prove it."""

    title: Text
    description: Text = ""
    prompt: Text
    right: Text
    wrong: Text
    right_probability: Number
    wrong_probability: Number
    mechanism: Text
    clean_margin: Number = None
    num_prompts: int = 0
    num_failures: int = 0
    for_wrong: tuple[SuspectRow, ...] = ()
    for_right: tuple[SuspectRow, ...] = ()
    repair: tuple[SuspectRow, ...] = ()
    repaired: Figure | None = None
    random: Figure | None = None
    turned_up: Figure | None = None
    sets: tuple[PromptSet, ...] = ()
    baselines: tuple[BaselineRow, ...] = ()
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


class Report(Part):
    """All that the page shows, in its order."""

    header: Header
    dictionaries: tuple[DictionaryRow, ...] = ()
    concepts: tuple[Concept, ...] = ()
    traces: tuple[Trace, ...] = ()
    diagnoses: tuple[DiagnosisView, ...] = ()
    steering: tuple[SteeringStudy, ...] = ()
    validation: tuple[Check, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, with schema and version."""
        return {"schema": SCHEMA, "version": VERSION, **self.model_dump(mode="json")}

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Reads what `to_json` gave.

        Raises:
            DataError: another schema, a newer version, or damaged.
        """
        found = data if isinstance(data, dict) else {}
        version = found.get("version")
        if found.get("schema") != SCHEMA or not isinstance(version, int):
            raise DataError(
                f"found schema {found.get('schema')!r}, which is no report",
                expected=f"schema {SCHEMA!r}",
                next_step="give a report.json that inscape wrote",
            )
        if version > VERSION:
            raise DataError(
                f"found version {version} of the report",
                expected=f"a version up to {VERSION}",
                next_step="upgrade inscape",
            )
        content = {k: v for k, v in found.items() if k not in ("schema", "version")}
        try:
            return cls.model_validate(content)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(
                f"the report is damaged at {place or 'its top'}: {first['msg']}",
                next_step="make it again with the command that wrote it",
            ) from error
