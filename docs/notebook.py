"""Writes docs/tutorial.ipynb from docs/tutorial.md: `python docs/notebook.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("tutorial.md")


def cells(text: str) -> list[tuple[str, str]]:
    """("markdown" or "code", content) of each part of the page."""
    parts = re.split(r"^```python\n(.*?)^```\n", text, flags=re.M | re.S)
    kinds = ("markdown", "code")
    return [(kinds[i % 2], part.strip("\n")) for i, part in enumerate(parts) if part.strip()]


def notebook(text: str) -> dict[str, Any]:
    """The notebook of the page."""
    found = []
    for number, (kind, content) in enumerate(cells(text)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        cell["source"] = content.splitlines(keepends=True)
        found.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


if __name__ == "__main__":
    PAGE.with_suffix(".ipynb").write_text(json.dumps(notebook(PAGE.read_text()), indent=1) + "\n")
