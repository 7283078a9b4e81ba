"""Pages of what was found: of an atlas, of a sweep; and the pictures of results in notebooks."""

from inscape.report import notebook
from inscape.report.atlas_page import atlas_html, write_atlas_report
from inscape.report.concepts import concepts_html
from inscape.report.dashboards import write_pages
from inscape.report.diagnosis import diagnosis_html
from inscape.report.features import write_feature
from inscape.report.front import front_html, write_front
from inscape.report.graph_html import picture_html
from inscape.report.graph_picture import GraphPicture, PictureEdge, PictureNode, picture
from inscape.report.graph_svg import graph_svg
from inscape.report.map_page import map_html, write_map_page
from inscape.report.page import fragment

__all__ = [
    "GraphPicture",
    "PictureEdge",
    "PictureNode",
    "atlas_html",
    "concepts_html",
    "diagnosis_html",
    "fragment",
    "front_html",
    "graph_svg",
    "map_html",
    "notebook",
    "picture",
    "picture_html",
    "write_atlas_report",
    "write_feature",
    "write_front",
    "write_map_page",
    "write_pages",
]
