"""The shell around the verbs: which there are, how they are loaded, how errors are reported.

1. Only the file of the verb that was typed is imported; the others are known by one line.
2. A mistake that the user can mend is one line on standard error, exit code 2.
3. A fault of inscape itself keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

VERBS = {
    "demo": "A page of what a real model has in mind.",
    "build": "Make an atlas of a model: train, index, label, map.",
    "sample": "Have a model write a corpus of its own.",
    "harvest": "Store a model's activations over a text.",
    "train": "Train dictionaries on stored activations.",
    "sweep": "Train many dictionaries; find the best (Pareto front).",
    "search": "Find features by words.",
    "concepts": "Show the concepts on each token of a prompt.",
    "feature": "Show what is known of a feature.",
    "index": "Index what each feature of a dictionary does.",
    "label": "Name features, and score the names.",
    "map": "Lay features out as a map of named groups.",
    "trace": "Trace which features led to the next token.",
    "graph": "Show a graph file, of inscape or of another tool.",
    "trajectory": "Follow an answer token by token.",
    "attention": "Explain why an attention head looks where it does.",
    "exchange": "Exchange neurons between two prompts to turn an answer.",
    "circuit": "Find the few units that carry a behaviour over many prompts.",
    "diagnose": "Find and prove why a wrong answer wins.",
    "steer": "Change features while the model writes.",
    "report": "Write a page of all that an atlas holds.",
    "import": "Read a dictionary of another library.",
    "export": "Write an atlas or a dictionary for others.",
    "validate": "Measure what a dictionary keeps and loses.",
    "check": "Check which concepts a dictionary has features for.",
    "doctor": "Check this machine and this installation.",
}

NOTES: list[str] = []
"""Remarks of the command that runs, printed at its end; an error is one line without them."""

GO_ON = "run the same command again: it goes on where it was"
ANEW = "nothing of it was kept: the same command begins anew"
AT_ONCE = {"trace", "graph", "trajectory", "attention", "exchange", "circuit"}
"""Verbs that keep nothing before their end."""

OVERVIEW = """Shows what a language model is thinking, where it goes wrong, and what to change.

\b
inscape demo                                       what a real model has in mind
inscape build MODEL --text corpus/ --out atlas/    make an atlas of a model
inscape concepts atlas/ "a prompt"                 the concepts on each of its tokens
inscape trace atlas/ "a prompt"                    how the next token came about
inscape diagnose atlas/ "a prompt" --correct " x"  why another answer won
inscape steer atlas/ "a prompt" --feature mlp.5/7  what changes with a feature
inscape report atlas/                              a page of all that was found

Every command that writes can be stopped and run again: it goes on where it was.
`--json` prints the result for a program; `inscape VERB --help` tells more.
"""


@dataclass(frozen=True)
class Program:
    """A command and its verbs (with one line about each): modules of `package` with a function
    `command`; overview: the text of its help."""

    name: str
    package: str
    overview: str
    verbs: Mapping[str, str]

    def module_of(self, verb: str) -> str:
        """The module of a verb: its name, but for a word that is taken in Python."""
        return f"{self.package}.{'import_' if verb == 'import' else verb}"


INSCAPE = Program("inscape", "inscape.cli", OVERVIEW, VERBS)


def _version(wanted: bool) -> None:
    if wanted:
        from inscape import __version__

        typer.echo(f"inscape {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options that stand before a verb."""


def _unloaded() -> None:
    """Stands in for the verbs that were not typed, so that help can list them."""
    raise RuntimeError("a verb was run without being loaded")


def _stoppable(command: Callable[..., None], verb: str) -> Callable[..., None]:
    """The command, with Ctrl-C reported as such before typer turns it into its own exit."""

    @wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (KeyboardInterrupt, Exception) as error:
            from inscape.core import InscapeError, Stopped

            if isinstance(error, InscapeError) or not _was_pressed(error):
                raise
            raise Stopped("stopped", next_step=ANEW if verb in AT_ONCE else GO_ON) from error

    return run_command


def _was_pressed(error: BaseException | None) -> bool:
    """Whether an error is a Ctrl-C, or what a library made of one: on the way into compiled code it
    becomes a SystemError, for example."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


_SOON = 0.05  # seconds


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """A Ctrl-C in a function that compiled code calls (numba's, while it compiles) cannot be raised
    from there and would be lost, with a traceback: it is pressed again a moment later. Any other
    error of that kind is shown as it always is."""
    if _was_pressed(found.exc_value) or issubclass(found.exc_type, KeyboardInterrupt):
        threading.Timer(_SOON, signal.raise_signal, [signal.SIGINT]).start()
    else:
        sys.__unraisablehook__(found)


def make_app(arguments: Sequence[str], program: Program = INSCAPE) -> typer.Typer:
    """The application for one command line; only the verb in it is imported."""
    app = typer.Typer(
        name=program.name,
        help=program.overview,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    typed = next((word for word in arguments if not word.startswith("-")), None)
    for verb, line in program.verbs.items():
        if verb == typed:
            command: Callable[..., Any] = import_module(program.module_of(verb)).command
            app.command(verb, short_help=line)(_stoppable(command, verb))
        else:
            app.command(verb, help=line)(_unloaded)
    return app


_FULL: Mapping[int | None, str] = {
    errno.ENOSPC: "no space left on",
    errno.EDQUOT: "no quota left on",
    errno.EFBIG: "a limit on file sizes is reached on",
}


def _say(message: str) -> None:
    print(f"inscape: {' '.join(message.split())}", file=sys.stderr)


def _print_nowhere() -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stopped(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str], program: Program = INSCAPE) -> int:
    """Runs one command line; the exit code is 0, 1 where a check fails, 2 for a mistake that the
    user can mend."""
    arguments = list(arguments) or ["--help"]
    NOTES.clear()
    try:
        code = make_app(arguments, program)(
            arguments, prog_name=program.name, standalone_mode=False
        )
        for note in NOTES:
            print(note, file=sys.stderr)
        sys.stdout.flush()  # what cannot be written is said here, not when Python ends
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        _say(f"stopped; {GO_ON}")
        return 2
    except BrokenPipeError:
        _print_nowhere()  # the reader (head, less) has gone
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            _print_nowhere()  # it may have been the output
        message = _one_line(error, program)
        if message is None and _was_pressed(error):
            message = f"stopped; {GO_ON}"
        if message is None:
            raise
        _say(message)
        return 2


def _one_line(error: Exception, program: Program) -> str | None:
    """The line for a mistake that the user can mend; None for a fault of inscape."""
    from pydantic import ValidationError

    from inscape.core import InscapeError, short

    if isinstance(error, InscapeError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        disk = f"the disk of {error.filename}" if error.filename else "the disk"
        return f"{_FULL[error.errno]} {disk}; free some space and {GO_ON}"
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes | os.PathLike):
        return f"{os.fsdecode(error.filename)}: {error.strerror}; check the path and its permission"
    usage = getattr(error, "format_message", None)  # typer's own errors about arguments
    if callable(usage):
        verb = getattr(getattr(error, "ctx", None), "info_name", None)
        of = f"{program.name} {verb}" if verb in program.verbs else program.name
        said = usage().rstrip(".")
        if isinstance(error.__cause__, ValidationError):  # which tells the value apart
            said = said.replace("Input", short(error.__cause__.errors()[0]["input"]), 1)
        return f"{said}; see: {of} --help"
    for kind, mark, line in _MENDABLE:
        if isinstance(error, kind) and (mark in str(error) or _within(error, mark)):
            return f"{line} ({str(error).splitlines()[0][:200]})" if str(error) else line
    return None


# What libraries raise where the machine or the input is at fault: type, what its text holds or
# where it was raised, what to say.
_SMALLER = "not enough memory; ask for less at a time, or use a machine with more"
_MENDABLE = (
    (MemoryError, "", _SMALLER),
    (RuntimeError, "allocate", _SMALLER),
    (RuntimeError, "out of memory", _SMALLER),
    (RuntimeError, "Storage size calculation overflowed", _SMALLER),
    (RecursionError, "json", "a JSON file is nested too deeply"),
    (UnicodeEncodeError, "surrogates", "the text holds half a character; expected valid UTF-8"),
    (UnicodeDecodeError, "", "the text is not valid UTF-8; convert it with iconv"),
)


def _within(error: Exception, package: str) -> bool:
    """Whether an error was raised in a package."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(package)


def _warning_line(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    kind = "" if category.__name__ == "InscapeWarning" else f"{category.__name__}: "
    return f"inscape: warning: {kind}{str(message).replace(chr(10), ' ')}\n"


# Set before torch is imported, unless the user has. OpenMP's threads spin while they wait: next to
# one busy process a loop of small products then takes ten times as long. They sleep instead.
ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "passive",  # libgomp: torch on Linux
    "KMP_BLOCKTIME": "0",  # libomp and libiomp: macOS and Windows
    # oneDNN keeps what it prepared for each shape of a product; those of batches of text are ever
    # different, and a thousand of them take a gigabyte.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}


def run(program: Program = INSCAPE) -> NoReturn:
    """The entry point of the command."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.formatwarning = _warning_line
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what a terminal's encoding lacks is written as \\uXXXX
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _stopped)
    sys.unraisablehook = _unraisable
    try:
        code = main(sys.argv[1:], program)
    except KeyboardInterrupt:  # pressed again while the first was told
        code = 2
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done: nothing is left to be stopped
        signal.signal(number, signal.SIG_IGN)
    # A Ctrl-C inside some library's exec() makes CPython believe that nobody caught it, and `python
    # -m inscape` would end by that signal instead of with the code; the next exec() corrects it.
    exec("")
    sys.exit(code)
