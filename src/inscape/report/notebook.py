"""The pictures by which notebooks show results."""

from __future__ import annotations

from inscape.atlas import Feature
from inscape.attribution import Graph
from inscape.diagnosis import Diagnosis
from inscape.intervention import SteerResult
from inscape.report.diagnosis import diagnosis_html
from inscape.report.features import feature_picture
from inscape.report.graph_html import picture_html
from inscape.report.graph_picture import picture
from inscape.report.page import fragment
from inscape.report.steering import steering_html
from inscape.storage import draws


@draws(Graph)
def _graph(graph: Graph) -> str:
    return fragment(picture_html(picture(graph)))


@draws(Diagnosis)
def _diagnosis(diagnosis: Diagnosis) -> str:
    return fragment(diagnosis_html(diagnosis))


@draws(SteerResult)
def _steering(result: SteerResult) -> str:
    return fragment(steering_html(result))


@draws(Feature)
def _feature(feature: Feature) -> str:
    return fragment(feature_picture(feature))
