"""The pictures by which notebooks show results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inscape.atlas import Concepts, Feature
from inscape.attribution import AttentionScore, Exchange, Graph, GraphScores, Trajectory
from inscape.circuits import Circuit
from inscape.diagnosis import Diagnosis
from inscape.intervention import SteerResult
from inscape.report.checks import checks_html
from inscape.report.concepts import concepts_html
from inscape.report.diagnosis import diagnosis_html
from inscape.report.features import feature_picture, steering_html
from inscape.report.graph_html import picture_html
from inscape.report.graph_picture import picture
from inscape.report.markup import Markup
from inscape.report.page import fragment
from inscape.report.tracing import (
    attention_html,
    circuit_html,
    exchange_html,
    scores_html,
    trajectory_html,
)
from inscape.storage import draws
from inscape.validation import ConceptChecks


def _show(kind: type, render: Callable[[Any], Markup]) -> None:
    draws(kind)(lambda result: fragment(render(result)))


_show(Graph, lambda graph: picture_html(picture(graph)))
_show(Diagnosis, diagnosis_html)
_show(ConceptChecks, checks_html)
_show(SteerResult, steering_html)
_show(Feature, feature_picture)
_show(Concepts, concepts_html)
_show(Trajectory, trajectory_html)
_show(Circuit, circuit_html)
_show(Exchange, exchange_html)
_show(AttentionScore, attention_html)
_show(GraphScores, scores_html)
