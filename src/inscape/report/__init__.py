"""The report: a self-contained page and its JSON twin, rendered from one plain object."""

from inscape.report.diagnosis import diagnosis_html
from inscape.report.figures import Bar, Check, Figure, Measure, at_least, at_most
from inscape.report.filling import diagnosis_view, dose_line, sample, snippets, token_effects
from inscape.report.front import front_html, write_front
from inscape.report.graph_picture import picture
from inscape.report.graph_svg import graph_svg
from inscape.report.page import fragment, read_report, render, write_report
from inscape.report.schema import (
    ActiveToken,
    BaselineRow,
    Concept,
    DiagnosisView,
    DictionaryRow,
    DoseLine,
    DosePoint,
    FeatureName,
    GraphPicture,
    Header,
    NamedFigure,
    PictureEdge,
    PictureNode,
    PicturePath,
    PromptSet,
    Report,
    Sample,
    Snippet,
    SteeringStudy,
    Step,
    SuspectRow,
    TokenEffect,
    Trace,
)
from inscape.report.sections import picture_html
from inscape.report.text import report_text

__all__ = [
    "ActiveToken",
    "Bar",
    "BaselineRow",
    "Check",
    "Concept",
    "DiagnosisView",
    "DictionaryRow",
    "DoseLine",
    "DosePoint",
    "FeatureName",
    "Figure",
    "GraphPicture",
    "Header",
    "Measure",
    "NamedFigure",
    "PictureEdge",
    "PictureNode",
    "PicturePath",
    "PromptSet",
    "Report",
    "Sample",
    "Snippet",
    "SteeringStudy",
    "Step",
    "SuspectRow",
    "TokenEffect",
    "Trace",
    "at_least",
    "at_most",
    "diagnosis_html",
    "diagnosis_view",
    "dose_line",
    "fragment",
    "front_html",
    "graph_svg",
    "picture",
    "picture_html",
    "read_report",
    "render",
    "report_text",
    "sample",
    "snippets",
    "token_effects",
    "write_front",
    "write_report",
]
