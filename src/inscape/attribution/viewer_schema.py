"""What the published viewer reads, as a schema: graph files, feature files, the index of graphs.

Only the fields that the viewer relies on are named; others may stand beside them. An error names
the field, its value, and what was expected.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inscape.core import DataError, short

Position = Annotated[int, Field(ge=0)]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=_Schema)


class Metadata(_Schema):
    """What the list of graphs says of one."""

    slug: Annotated[str, Field(min_length=1)]
    scan: str
    prompt: str
    prompt_tokens: list[str]
    transcoder_list: list[str] = []
    node_threshold: float | None = None
    schema_version: int | None = None
    feature_details: dict[str, Any] | None = None
    info: dict[str, Any] | None = None
    generation_settings: dict[str, Any] | None = None
    pruning_settings: dict[str, Any] | None = None


class State(_Schema):
    """`qParams`: what somebody has chosen to see. The local page saves each as one text."""

    pinnedIds: list[str] | str | None = None
    supernodes: list[list[str]] | str | None = None
    clerps: list[list[str]] | str | None = None


class ViewerNode(_Schema):
    """A node. Where a graph has no number for it, `feature` is null."""

    node_id: str
    feature: int | None
    layer: str | int
    ctx_idx: Position
    feature_type: str
    jsNodeId: str
    clerp: str
    token_prob: float | None = None
    influence: float | None = None
    activation: float | None = None


class Link(_Schema):
    """A direct effect, with its sign; both ends are `node_id`s."""

    source: str
    target: str
    weight: float


class ViewerGraph(_Schema):
    """A graph file."""

    metadata: Metadata
    qParams: State
    nodes: list[ViewerNode]
    links: list[Link]

    @model_validator(mode="after")
    def _inside_the_prompt(self) -> ViewerGraph:
        length = len(self.metadata.prompt_tokens)
        for number, node in enumerate(self.nodes):
            if node.ctx_idx >= length:
                raise ValueError(
                    f"nodes.{number}.ctx_idx is {node.ctx_idx} with {length} prompt_tokens"
                )
        return self


class FeatureExample(_Schema):
    """Text with an activation for each token; `train_token_ind` is the token that it is about."""

    tokens: list[str]
    tokens_acts_list: list[float]
    train_token_ind: Position
    is_repeated_datapoint: bool

    @model_validator(mode="after")
    def _of_one_length(self) -> FeatureExample:
        tokens, values = len(self.tokens), len(self.tokens_acts_list)
        if tokens != values:
            raise ValueError(f"{values} tokens_acts_list for {tokens} tokens")
        if self.train_token_ind >= tokens:
            raise ValueError(f"train_token_ind is {self.train_token_ind} of {tokens} tokens")
        return self


class Quantile(_Schema):
    """Examples of about the same strength."""

    quantile_name: str
    examples: list[FeatureExample]


class FeatureFile(_Schema):
    """A feature file; of an activation the page shows its place among `quantile_values`, which are
    percentiles 1 to 100, and in the histogram, whose bars divide act_min to act_max evenly."""

    index: int
    examples_quantiles: list[Quantile]
    top_logits: list[str] | None = None
    bottom_logits: list[str] | None = None
    act_min: float | None = None
    act_max: float | None = None
    quantile_values: list[float] | None = None
    histogram: list[float] | None = None
    activation_frequency: float | None = None


class GraphIndex(_Schema):
    """The index of graphs, graph-metadata.json."""

    graphs: list[Metadata]


def check_graph(data: Any, what: str = "the graph file") -> ViewerGraph:
    """A graph file as the viewer reads it; DataError that names the first field that is wrong."""
    return _checked(ViewerGraph, data, what, "a graph of inscape or of the published viewer")


def check_feature(data: Any, what: str = "the feature file") -> FeatureFile:
    """A feature file likewise."""
    return _checked(FeatureFile, data, what, "a feature of the published viewer")


def check_index(data: Any, what: str = "the index of graphs") -> GraphIndex:
    """The index of graphs likewise."""
    return _checked(GraphIndex, data, what, "an index of graphs of the published viewer")


def _checked(kind: type[S], data: Any, what: str, expected: str) -> S:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if not _is_type(part))
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            found = f"has no {place}"
        elif first["type"] == "value_error":
            found = f"is not consistent: {said}" + (f" ({place})" if place else "")
        else:
            found = f"{f'has {place} = ' if place else 'is '}{short(first['input'])} ({said})"
        raise DataError(f"{what} {found}", expected=expected) from error


def _is_type(part: str | int) -> bool:
    """Whether a part of a place names one of the types that a field may have."""
    return isinstance(part, str) and (part in ("str", "int") or "[" in part)
