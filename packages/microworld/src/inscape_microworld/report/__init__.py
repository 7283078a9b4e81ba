"""The demo's report: known truth, thresholds and studies, beside what `inscape.report` shows."""

from inscape_microworld.report.page import read_report, render, write_report
from inscape_microworld.report.schema import Report
from inscape_microworld.report.text import report_text

__all__ = ["Report", "read_report", "render", "report_text", "write_report"]
