"""The attribution graph with its renderings."""

from __future__ import annotations

from typing import Any

from inscape.attribution.data import GraphData
from inscape.attribution.paths import summary
from inscape.attribution.viewer import to_viewer


class Graph(GraphData):
    """An attribution graph; see `GraphData` for what it holds."""

    def to_viewer(self, **options: Any) -> dict[str, Any]:
        """The graph in the published viewer format; options as in `viewer.to_viewer`."""
        return to_viewer(self, **options)

    def summary(self, num_paths: int = 8) -> str:
        """A text rendering: targets, scores, strongest features and paths."""
        return summary(self, num_paths)
