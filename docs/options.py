"""Writes the option tables of docs/cli.md from the commands themselves: `python docs/options.py`.

What stands in a section before its table is kept; a verb without a section gets one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from inscape.cli.main import INSCAPE, Program, make_app

PAGE = Path(__file__).with_name("cli.md")


def page(text: str, program: Program = INSCAPE) -> str:
    """The page `text` with every option table as the commands have it now."""
    head, *sections = text.split("\n## ")
    prose = {part.split("\n", 1)[0]: part.split("\n| option |")[0].strip() for part in sections}
    parts = [head.strip()]
    for verb in program.verbs:
        command = typer.main.get_command(make_app([verb], program)).commands[verb]  # type: ignore[attr-defined]
        parts.append("## " + prose.get(verb, _opening(verb, command, program)))
        parts.append(_table(command))
    return "\n\n".join(parts) + "\n"


def _opening(verb: str, command: Any, program: Program) -> str:
    arguments = [str(p.metavar) for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([program.name, verb, *arguments])
    return f"{verb}\n\n`{usage}`\n\n{' '.join(command.help.split())}"


def _table(command: Any) -> str:
    lines = ["| option | meaning |", "|---|---|"]
    for option in command.params:
        if option.param_type_name == "option" and option.name != "help":
            names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
            lines.append(f"| {names} | {_meaning(option)} |")
    return "\n".join(lines)


def _meaning(option: Any) -> str:
    text = " ".join(str(option.help).split()).replace("|", "\\|")
    if option.required:
        return f"{text} Required."
    if option.default is None or isinstance(option.default, bool) or callable(option.default):
        return text
    return f"{text} Default: {option.default}."


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
