"""Seeded random command lines over every verb: `python -m benchmarks.fuzz --lines 2000 --seed 1`.

1. A world is made once (`fuzz_world`): a tiny model, a text, an atlas, a store, a dictionary, and
   files of a user's, with links, a pipe, a device and a folder that may not be entered.
2. Each line works on a copy of that world in a process of its own, forked from this one, so that
   torch is imported once. First some files are damaged, and some are put where verbs write.
3. Verbs and options are those of the application itself, so that new ones are covered. Values are
   likely ones by the option's name, or odd ones.
4. A line fails if a file that it had no business with is changed or gone; if it ends with a
   traceback or by a signal; if it does not end, not even by Ctrl-C; if it ends with another code
   than 0 or 2, or with an error of several lines. `--only N` runs one line again and shows it all.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from benchmarks.fuzz_world import damage, make_world, prepare, state_of
from inscape.cli import main as shell
from inscape.core import track

SECONDS = 30.0  # after which a line gets a Ctrl-C, and after as many again is killed
MEMORY = 4 << 30  # bytes of address space
KINDS = {
    "lost": "files changed or gone",
    "traceback": "tracebacks",
    "hang": "hangs",
    "code": "other exit codes",
    "lines": "errors of several lines",
}
# What verbs may change of the world: locks, what a build notes, unfinished runs, results.
FREE = (".lock", "atlas.json", "harvest.json", "train.jsonl")
RESULTS = {"traces", "diagnoses", "steering", "repairs", "checks"}

ODD = (
    *("", " ", "a\nb", "\udcff", "'\"", "9" * 40, "9" * 5000, "x" * 300, "ünï cødé", "mine/sub"),
    *"- -- x ../.. 日本 %s{} ~ * nan inf -1 0 1e400 2147483648 0x10 1_000 ٣ mine file.txt".split(),
    *"empty link linkfile loop dangling pipe node closed closed/x . .. / mine/thesis.txt".split(),
    *"none file.txt/x corpus.txt latin.txt deep.json null.jsonl surrogate.jsonl atlas".split(),
    *"store model dict sae old atlas/dictionaries atlas/atlas.json graph.json texts new".split(),
)
NEW = ("new", "new/deep", "new2", "empty", "ünï cødé/new", "dangling")
LIKELY: dict[str, Sequence[str]] = {
    "out": NEW,
    "tensorboard": NEW,
    "prompt": ("the cat sat", "a", "the old boat and the"),
    "edges": ("the cat", "a"),
    "correct": (" cat", " dog", "the"),
    "wrong": (" cat", " a"),
    "target": (" cat", " a"),
    "against": (" dog", " the"),
    **{
        name: values.split()
        for name, values in {
            "atlas": "atlas",
            "source": "atlas store corpus.txt sae dict",
            "model": "model",
            "text": "corpus.txt corpus.jsonl texts cat",
            "held_out": "corpus.txt prompts.jsonl",
            "more": "prompts.jsonl",
            "controls": "prompts.jsonl",
            "into": "atlas",
            "dictionary": "resid_post.0 mlp.0 dict",
            "beside": "store",
            "site": "resid_post.0 mlp_in.0 mlp_in.* resid_post.0+resid_post.1",
            "to": "mlp_out.0 mlp_out.* resid_post.0 huggingface neuronpedia pages saelens",
            "feature": "resid_post.0/3 mlp.0/5 mlp.1/17",
            "like": "resid_post.0/3 mlp.0/5",
            "difference": "corpus.txt prompts.jsonl texts",
            "families": "resid_post.0 mlp.0 mlp.1",
            "where": "density<1% max>0,auroc>=0.5 kind=word size>3 density<",
            "mode": "add clamp scale ablate",
            "variant": "topk batch_topk jumprelu relu gated matryoshka",
            "form": "saelens dictionary_learning sparsify gemma_scope layer_files openai",
            "name": "mine a/b",
            "published": "explained.jsonl texts",
            "endpoint": "http://127.0.0.1:9 http://user:key@h localhost",
            "endpoint_model": "m org/m:1",
            "by": "model",
            "weights": "int8 bfloat16",
            "licence": "apache-2.0 Mine",
            "device": "cpu",
            "only": "harvest train index label",
            "kernels": "auto plain",
            "encoder": "auto fp32",
            "concepts": "concepts.toml corpus.txt",
        }.items()
    },
}
TYPED = {int: ("1", "2", "3", "4", "8", "16"), float: ("0", "0.3", "0.8", "1", "2")}


def random_line(draw: random.Random) -> list[str]:
    """A verb with random arguments and options."""
    # The demo is a chain of minutes, of verbs that are all here.
    verb = draw.choice([verb for verb in shell.VERBS if verb != "demo"])
    if draw.random() < 0.02:
        return [verb[:-1] if draw.random() < 0.5 else draw.choice(ODD)]
    group: Any = typer.main.get_command(shell.make_app([verb]))
    odd = draw.choice((0.0, 0.1, 0.3))
    line = [verb]
    for parameter in group.commands[verb].params:
        given = 0.96 if parameter.required or "tokens" in parameter.name else 0.2
        if parameter.name in ("site", "out", "d_dict"):  # those of some sources need them as well
            given = max(given, 0.6)
        if draw.random() > given or "--help" in parameter.opts:
            continue
        for _ in range(draw.choice((1, 1, 2)) if parameter.multiple else 1):
            if parameter.param_type_name == "option":
                line.append(draw.choice([*parameter.opts, *parameter.secondary_opts]))
            if not getattr(parameter, "is_flag", False):
                line += [_value(parameter, draw, odd) for _ in range(max(1, parameter.nargs))]
    return [*line, draw.choice(ODD)] if draw.random() < 0.02 else line


def _value(parameter: Any, draw: random.Random, odd: float) -> str:
    if draw.random() < odd:
        return draw.choice(ODD)
    if "tokens" in parameter.name:
        return draw.choice(("512", "1024", "2048"))
    typed = TYPED.get(parameter.type_descriptor.annotation)
    return draw.choice(typed or LIKELY.get(parameter.name) or (*TYPED[int], *ODD))


@dataclass
class Outcome:
    """What came of one line. `failures`: kinds of failure, with what shows them."""

    line: list[str]
    damaged: list[str]
    code: int = 0
    seconds: float = 0.0
    said: str = ""
    failures: dict[str, str] = field(default_factory=dict)


def forked(work: Callable[[], None], folder: Path) -> int:
    """A process that does `work` with its output in the files out and err of a folder; its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for number, name in ((0, Path(os.devnull)), (1, folder / "out"), (2, folder / "err")):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(name, flags), number)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
            code = 120  # as Python itself ends then
        finally:
            os._exit(code)


def run_line(world: Path, place: Path, seed: str) -> Outcome:
    """Runs the line of a seed on a copy of the world at `place`."""
    draw = random.Random(seed)
    line = random_line(draw)
    prepare(world, place)
    outcome = Outcome(line, damage(place, draw))
    before = state_of(place)
    encoding = "latin-1" if draw.random() < 0.1 else "utf-8"
    largest = 3_000 if draw.random() < 0.05 else None

    def work() -> None:
        os.chdir(place)
        sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding=encoding, closefd=False)  # noqa: SIM115
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        os.environ["INSCAPE_PROGRESS"] = "0"
        sys.argv = ["inscape", *line]
        shell.run()

    began = time.monotonic()
    outcome.code = _wait(forked(work, place.parent), outcome)
    outcome.seconds = time.monotonic() - began
    above = sorted(path.name for path in place.parent.iterdir())
    if not {"world", "out", "err", place.name} <= set(above):
        outcome.failures["lost"] = f"of the folder above, all but {', '.join(above)}"
        return outcome
    outcome.said = (place.parent / "err").read_text(errors="replace")
    _judge(outcome, before, state_of(place))
    (place / "closed").chmod(0o700)
    shutil.rmtree(place)
    return outcome


def _wait(process: int, outcome: Outcome) -> int:
    """The exit code, negative for a signal."""
    for number in (signal.SIGINT, signal.SIGKILL):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(process, number)
    os.waitpid(process, 0)
    outcome.failures["hang"] = f"no end in {2 * SECONDS:.0f} s, Ctrl-C included"
    return -signal.SIGKILL


def _judge(outcome: Outcome, before: dict[str, str], after: dict[str, str]) -> None:
    """Notes what went wrong."""
    spoiled = [what.split(" ", 1)[1] for what in outcome.damaged if not what.startswith("add ")]
    users = hashlib.sha256(b"my thesis").hexdigest()
    lost = [
        name
        for name, content in before.items()
        if after.get(name) != content
        and (content == users or not name.endswith(FREE))
        and not RESULTS & set(Path(name).parts)
        and not any(name.startswith(one) for one in spoiled)
    ]
    if lost:
        outcome.failures["lost"] = ", ".join(lost)
    said = [line for line in outcome.said.splitlines() if line.strip()]
    if "hang" in outcome.failures:
        return
    if "Traceback (most recent call last)" in outcome.said or outcome.code < 0:
        outcome.failures["traceback"] = f"{outcome.code}: {' / '.join(said[-3:])}"
    elif outcome.code not in (0, 2) and outcome.line[0] not in ("check", "doctor"):
        outcome.failures["code"] = str(outcome.code)
    elif outcome.code == 2 and (len(said) != 1 or not said[0].startswith("inscape: ")):
        outcome.failures["lines"] = " / ".join(said)


def fuzz(numbers: Sequence[int], seed: int, *, shown: bool = False) -> Counter[str]:
    """Runs the lines of these numbers, prints each that fails; the counts by kind of failure."""
    import transformers.models.llama.modeling_llama  # noqa: F401

    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    with tempfile.TemporaryDirectory(prefix="inscape-fuzz-") as folder:
        root = Path(folder)
        world = root / "world"
        world.mkdir()
        here = {"INSCAPE_CACHE": str(root / "cache"), "HF_HUB_OFFLINE": "1", "HOME": str(root)}
        os.environ.update(here)

        def make() -> None:
            os.chdir(world)
            make_world()

        if os.waitpid(forked(make, root), 0)[1]:
            raise SystemExit((root / "err").read_text())
        for number in track(numbers, "lines", unit="lines"):
            outcome = run_line(world, root / "place", f"{seed}/{number}")
            counts.update(outcome.failures.keys())
            if outcome.failures or shown:
                _print(number, outcome)
            if shown:
                print(outcome.code, outcome.said, (root / "out").read_text(errors="replace"))
    return counts


def _print(number: int, outcome: Outcome) -> None:
    lines = [
        f"{number}: inscape {shlex.join(outcome.line)}"[:600],
        f"   damaged: {', '.join(outcome.damaged) or 'nothing'}; {outcome.seconds:.1f} s",
        *(f"   {kind}: {what[:400]}" for kind, what in outcome.failures.items()),
    ]
    print("\n".join(lines).encode(errors="replace").decode(), flush=True)


def as_a_user() -> None:
    """The superuser may read everything: begins anew without those rights, where that can be."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() == 0 and setpriv and "INSCAPE_FUZZ" not in os.environ:
        rights = "--bounding-set=-dac_override,-dac_read_search"
        os.environ["INSCAPE_FUZZ"] = "1"
        os.execv(setpriv, [setpriv, rights, sys.executable, "-m", "benchmarks.fuzz", *sys.argv[1:]])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one line, to run alone")
    given = parser.parse_args()
    as_a_user()
    numbers = range(given.first, given.first + given.lines) if given.only is None else [given.only]
    counts = fuzz(numbers, given.seed, shown=given.only is not None)
    found = "; ".join(f"{what} {counts[kind]}" for kind, what in KINDS.items())
    print(f"{len(numbers)} lines: {found}")
    sys.exit(any(counts.values()))


if __name__ == "__main__":
    main()
