"""The shell around the verbs: help, errors, exit codes, and what it loads."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from inscape.cli import main as shell
from inscape.cli.common import note
from inscape.core import InputError

HEAVY = ("torch", "transformers", "numba", "pyarrow", "numpy")


def inscape(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inscape", *arguments], capture_output=True, text=True
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_verb(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(arguments) == 0
    shown = capsys.readouterr().out
    for verb, line in shell.VERBS.items():
        assert f"\n  {verb}" in shown
        assert line in shown, "the line is cut short"


@pytest.mark.parametrize("verb", shell.VERBS)
def test_every_verb_explains_itself_and_knows_json(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: inscape {verb}" in shown
    assert "--json" in shown


@pytest.mark.parametrize("verb", shell.VERBS)
def test_the_help_of_a_verb_loads_nothing_heavy(verb: str) -> None:
    code = (
        "import sys; from inscape.cli.main import main; main([sys.argv[1], '--help']); "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_only_the_verb_that_was_typed_is_loaded() -> None:
    code = (
        "import sys; from inscape.cli.main import main; main(['--help']); "
        "print(sorted(m for m in sys.modules if m.startswith('inscape.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['inscape.cli.main']"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tarce"], "No such command 'tarce'. Did you mean 'trace'?; see: inscape --help"),
        (["trace"], "Missing argument 'ATLAS|MODEL'; see: inscape trace --help"),
        (["trace", "a", "b", "--node-share", "x"], "--node-share"),
        (["--wrong"], "No such option: --wrong"),
        (["build", "model"], "Missing option '--text'"),
        (["doctor", "extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1


def raising(error: BaseException) -> object:
    class Module:
        @staticmethod
        def command() -> None:
            raise error

    return Module


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("too wide", expected="less", next_step="lower it"), "too wide; expected less"),
        (KeyboardInterrupt(), "stopped; run the same command again: it goes on where it was"),
        (OSError(errno.ENOSPC, "full", "/data/x"), "no space left on the disk of /data/x; free"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            "/data/x: Permission denied",
        ),
        (MemoryError("Unable to allocate 5 TiB"), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory:\nframe #1"),
            "not enough memory",
        ),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), "half a character"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    error: BaseException,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shell, "import_module", lambda name: raising(error))
    assert shell.main(["doctor"]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.strip().count("\n") == 0
    assert "Traceback" not in shown.err


def test_ctrl_c_on_the_way_into_compiled_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = SystemError("returned a result with an exception set")
    monkeypatch.setattr(shell, "import_module", lambda name: raising(error))
    with pytest.raises(SystemError):
        shell.main(["doctor"])
    error.__cause__ = KeyboardInterrupt()
    assert shell.main(["doctor"]) == 2
    assert "stopped; run the same command again" in capsys.readouterr().err


def test_ctrl_c_that_a_library_has_taken_for_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("the compiler failed")
    error.__context__ = OSError("while writing")
    error.__context__.__context__ = KeyboardInterrupt()
    monkeypatch.setattr(shell, "import_module", lambda name: raising(error))
    assert shell.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("inscape: stopped; run the same command again")
    mended = InputError("too wide")
    mended.__context__ = KeyboardInterrupt()
    monkeypatch.setattr(shell, "import_module", lambda name: raising(mended))
    assert shell.main(["doctor"]) == 2
    assert capsys.readouterr().err == "inscape: too wide\n"


def test_ctrl_c_in_a_function_that_compiled_code_calls(tmp_path: Path) -> None:
    (tmp_path / "called.py").write_text(
        "import ctypes, time\n"
        "import inscape.core\n"
        "from inscape.cli import main as shell\n"
        "def called():\n"
        "    raise KeyboardInterrupt\n"
        "class Module:\n"
        "    @staticmethod\n"
        "    def command() -> None:\n"
        "        ctypes.CFUNCTYPE(None)(called)()\n"
        "        for _ in range(600): time.sleep(0.1)\n"
        "shell.import_module = lambda name: Module\n"
        "shell.run()\n"
    )
    command = [sys.executable, "-m", "called", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr == "inscape: stopped; run the same command again: it goes on where it was\n"


def test_ctrl_c_inside_an_exec_ends_with_the_code(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(
        "import inscape.core\n"
        "from inscape.cli import main as shell\n"
        "class Module:\n"
        "    @staticmethod\n"
        "    def command() -> None:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "shell.import_module = lambda name: Module\n"
        "shell.run()\n"
    )
    command = [sys.executable, "-m", "interrupted", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "inscape: stopped; run the same command again: it goes on where it was\n"


def test_a_fault_of_inscape_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "import_module", lambda name: raising(ZeroDivisionError("inside")))
    with pytest.raises(ZeroDivisionError, match="inside"):
        shell.main(["doctor"])


def test_json_that_is_nested_too_deeply_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        @staticmethod
        def command() -> None:
            json.loads("[" * 100_000)

    monkeypatch.setattr(shell, "import_module", lambda name: Module)
    assert shell.main(["doctor"]) == 2
    assert "nested too deeply" in capsys.readouterr().err
    monkeypatch.setattr(shell, "import_module", lambda name: raising(RecursionError("ours")))
    with pytest.raises(RecursionError):
        shell.main(["doctor"])


def test_remarks_come_after_success_and_are_dropped_before_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Module:
        @staticmethod
        def command(fails: bool = False) -> None:
            note("a remark")
            if fails:
                raise InputError("too wide")

    monkeypatch.setattr(shell, "import_module", lambda name: Module)
    assert shell.main(["doctor"]) == 0
    assert capsys.readouterr().err == "a remark\n"
    assert shell.main(["doctor", "--fails"]) == 2
    assert capsys.readouterr().err == "inscape: too wide\n"


def test_ctrl_c_while_the_command_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from inscape.__main__ import run\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "inscape: stopped; nothing had been begun\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_another_encoding(encoding: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from inscape.cli import main as shell\n"
        "from inscape.cli.common import print_json\n"
        "class Module:\n"
        "    @staticmethod\n"
        "    def command(): print_json({'prompt': '日本 é \\ud800'}); print('日本')\n"
        "shell.import_module = lambda name: Module\n"
        "sys.argv = ['inscape', 'doctor']\n"
        "shell.run()\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode(encoding).rsplit("}", 1)[0] + "}"
    assert json.loads(shown) == {"prompt": "日本 é \ud800"}


def test_every_verb_has_a_file() -> None:
    for verb in shell.VERBS:
        assert callable(import_module(shell.INSCAPE.module_of(verb)).command)


def test_the_installed_command_and_the_module_agree() -> None:
    done = inscape("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "inscape")
    done = inscape("nonsense")
    assert (done.returncode, done.stdout) == (2, "")


def best_of(code: list[str], times: int = 3) -> float:
    """The least seconds of processor time that a command took."""
    taken = []
    for _ in range(times):
        before = os.times()
        subprocess.run(code, capture_output=True, check=True)
        after = os.times()
        taken.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return min(taken)


def test_help_costs_at_most_three_times_the_import_of_typer() -> None:
    start = time.monotonic()
    floor = best_of([sys.executable, "-c", "import typer"])
    assert best_of([sys.executable, "-m", "inscape", "--help"]) <= 3 * floor
    assert time.monotonic() - start < 60


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_finds_no_room_ends_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "inscape", "doctor"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("inscape: no space left on the disk; free")
    assert "Exception ignored" not in ended.stderr
