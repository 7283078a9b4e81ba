"""`inscape diagnose`: why a wrong answer wins, proved by removing and restoring features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from inscape.cli import common

if TYPE_CHECKING:
    from inscape.diagnosis import Case

_FILE = "One JSON object a line, with prompt and correct; also wrong and candidates, if wanted."


def command(
    atlas: common.AtlasFolder,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="A prompt that is answered wrongly.")
    ],
    correct: Annotated[str, typer.Option(help="The correct answer, with its leading space.")],
    wrong: Annotated[
        str | None, typer.Option(help="The wrong answer; default: what the model says.")
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            help="A possible answer, repeatable: only these compete with the correct one."
        ),
    ] = None,
    more: Annotated[
        Path | None, typer.Option(help=f"Further prompts of the same failure. {_FILE}")
    ] = None,
    controls: Annotated[
        Path | None, typer.Option(help=f"Prompts whose answers must stay correct. {_FILE}")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option(help=f"Prompts that only judge the repair. {_FILE}")
    ] = None,
    dictionary: common.OnlyThese = None,
    max_features: Annotated[int, typer.Option(min=1, help="Most features of a repair.")] = 24,
    num_random: Annotated[int, typer.Option(min=1, help="Matched random sets as control.")] = 100,
    seed: common.Seed = 0,
    chat: common.Chat = False,
    model: common.MovedModel = None,
    bos: common.Bos = None,
    device: common.Device = None,
    json: common.Json = False,
) -> None:
    """Find which features make a wrong answer win over the correct one, where, and prove it.

    Every claim is an intervention in the unmodified model, compared with matched random features.
    """
    from inscape.diagnosis import Case

    opened = common.open_atlas(atlas, model, device, bos)
    asked = common.read_prompt(prompt, chat)
    cases = [Case(asked, correct, wrong, tuple(candidate or ())), *_cases(more, chat)]
    judging = _cases(held_out, chat)
    found = opened.diagnose(
        cases,
        names=dictionary,
        save=False,
        controls=_cases(controls, chat),
        judged_on={"held out": judging} if judging else None,
        max_features=max_features,
        num_random=num_random,
        seed=seed,
    )
    if json:
        common.print_json(found.to_json())
    else:
        typer.echo(found.summary())
    common.save(opened, found)


class _Line(BaseModel):
    """A line of a file of prompts."""

    prompt: str | list[dict[str, Any]]
    correct: str
    wrong: str | None = None
    candidates: list[str] | None = None


def _cases(path: Path | None, chat: bool) -> list[Case]:
    """The prompts of a JSONL file.

    Raises:
        DataError: the file is missing, or a line is not what it should be.
    """
    from inscape.core import DataError
    from inscape.diagnosis import Case

    if path is None:
        return []
    expected = (
        'a JSON object with "prompt" (text or messages) and "correct" (text) on every line, '
        '"wrong" (text) and "candidates" (a list of texts) where they are wanted'
    )
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", expected=expected) from error
    cases = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _Line.model_validate_json(line)
        except ValueError as error:
            raise DataError(f"line {number} of {path} is unusable", expected=expected) from error
        asked = found.prompt
        prompt = common.read_prompt(asked, chat) if isinstance(asked, str) else asked
        cases.append(Case(prompt, found.correct, found.wrong, tuple(found.candidates or ())))
    if not cases:
        raise DataError(f"{path} holds no prompts", expected=expected)
    return cases
