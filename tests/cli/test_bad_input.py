"""Every mistake that a user can mend is one line with the next step, exit code 2."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import ALL, SMALL, sentences

from inscape.atlas import Atlas
from inscape.cli import main as shell
from inscape.report.graph_html import picture_html
from inscape.report.graph_picture import picture
from inscape.storage import atomic as atomic_module
from inscape.storage import lock

Run = Callable[..., str]
FEATURE = ("--feature", "resid_post.1/1")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must be refused; its single line of standard error."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert shell.main([str(argument) for argument in arguments]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        lines = [line for line in shown.err.splitlines() if line]
        assert len(lines) == 1, shown.err
        assert lines[0].startswith("inscape: ")
        return lines[0]

    return run


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below an atlas with its content, but locks and what single commands saved."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != ".lock"
        and path.relative_to(folder).parts[0]
        not in ("traces", "diagnoses", "steering", "quality", "repairs")
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"  \n\n \n", "empty"),
        (b"Just one line of text.\n", "fewer than two documents"),
        (b"A first document.\n\nA second with \xff\xfe bytes.\n", "byte"),
    ],
)
def test_a_corpus_that_cannot_be_used(
    content: bytes, said: str, refused: Run, tiny_model: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(content)
    line = refused("build", tiny_model, "--text", corpus, "--out", tmp_path / "a", *SMALL)
    assert said in line
    assert said in refused("harvest", tiny_model, "--text", corpus, "--out", tmp_path / "store")
    corpus.write_text(sentences(2, 30))
    again = ["build", tiny_model, "--text", corpus, "--out", tmp_path / "a", *SMALL]
    assert shell.main([str(argument) for argument in again]) == 0, "the mended command goes on"
    again = ["harvest", tiny_model, "--text", corpus, "--out", tmp_path / "store"]
    assert shell.main([str(argument) for argument in again]) == 0, "the mended command goes on"


def test_a_corpus_that_is_not_there(refused: Run, tiny_model: Path, tmp_path: Path) -> None:
    line = refused("harvest", tiny_model, "--text", tmp_path / "no", "--out", tmp_path / "s")
    assert str(tmp_path / "no") in line


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ("residual.1", "residual.1"),
        ("resid_post.7", "a layer from 0 to 2"),
        ("resid_post", "resid_post"),
    ],
)
def test_a_site_that_is_unknown_or_out_of_range(
    site: str, said: str, refused: Run, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    line = refused("harvest", tiny_model, "--text", text, "--out", tmp_path / "s", "--site", site)
    assert said in line
    assert "expected" in line


def test_a_layer_out_of_range(refused: Run, tiny_model: Path, text: Path, tmp_path: Path) -> None:
    line = refused("build", tiny_model, "--text", text, "--out", tmp_path / "a", "--layer", 9)
    assert "layer 9" in line
    assert "from 0 to 2" in line
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--expansion", 0, "greater than 0"),
        ("--k", 0, "greater than 0"),
        ("--k", 999, "k = 999"),
        ("--memory", 0, "memory = 0.0 is not usable"),
        ("--memory", "nan", "memory = nan is not usable"),
    ],
)
def test_a_setting_that_makes_no_sense(
    option: str, value: int, said: str, refused: Run, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    small = [*SMALL, option, value]
    line = refused("build", tiny_model, "--text", text, "--out", tmp_path / "a", *small)
    assert said in line
    assert not (tmp_path / "a").exists()


def test_features_and_modes_that_are_unknown(refused: Run, atlas: Path) -> None:
    steer = ("steer", atlas, "the cat", "--feature")
    assert "expected dictionary/index" in refused(*steer, "resid_post.1-3")
    assert "expected an index below 64" in refused(*steer, "resid_post.1/64")
    assert "expected one of resid_post.1, mlp.0" in refused(*steer, "resid_post.9/1")
    assert "mode 'boost'; expected ablate" in refused(*steer, "resid_post.1/1", "--mode", "boost")


@pytest.mark.parametrize("strength", ["nan", "inf"])
def test_a_strength_that_is_no_number(strength: str, refused: Run, atlas: Path) -> None:
    line = refused("steer", atlas, "the cat", "--feature", "resid_post.1/1", "--strength", strength)
    assert f"a strength of {strength}; expected a finite number" in line


def test_what_cannot_be_saved_is_printed_all_the_same(
    atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = ["trace", str(atlas), "the cat"]
    diagnose = ["diagnose", str(atlas), "the cat", "--correct", " a", "--num-random", "2"]
    for command in (trace, diagnose):
        with lock(atlas):
            assert shell.main(command) == 2
        shown = capsys.readouterr()
        assert "the cat" in shown.out
        assert "is being written by process" in shown.err


def test_options_that_the_source_does_not_take(
    refused: Run, atlas: Path, text: Path, tiny_model: Path
) -> None:
    assert "--only train" in refused("train", atlas)
    assert "max_tokens 9 without a text" in refused("index", atlas, "--max-tokens", 9)
    online = ("train", text, "--model", tiny_model, "--site", "resid_post.1")
    assert "--skip-corrupt does not apply to" in refused(*online, "--skip-corrupt")
    assert "--memory nan" in refused(*online, "--memory", "nan")


def test_variants_and_formats_that_are_not_known(
    refused: Run, atlas: Path, text: Path, repository: Path, tmp_path: Path
) -> None:
    store = atlas / "activations" / "corpus"
    train = ("train", store, "--site", "resid_post.1", "--out", tmp_path / "d", "--tokens", 2048)
    assert "one of topk, batch_topk" in refused(*train, "--variant", "batchtopk")
    assert "NAME=VALUE" in refused(*train, "--variant", "relu", "--option", "coefficient")
    said = refused(*train, "--variant", "relu", "--option", "coefficient=much")
    assert "coefficient" in said
    said = refused(*train, "--option", "lambda=1")
    assert "setting lambda is unknown; expected none: variant 'topk' has no settings" in said
    assert "identity" in refused(*train, "--skip")
    assert "go together" in refused(*train, "--held-out", text)
    assert "--memory does not apply" in refused(*train, "--memory", 2)
    assert "is no store of activations" in refused("train", text, *train[2:])
    other = repository / "packages/microworld/src/inscape_microworld/weights"
    assert "was not made with" in refused(*train, "--held-out", text, "--model", other)
    one = atlas / "dictionaries" / "resid_post.1"
    assert "--to 'mine' is unknown" in refused(
        "export", one, "--to", "mine", "--out", tmp_path / "x"
    )
    assert "no known format" in refused("import", text.parent, "--out", tmp_path / "x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    for verb in ("export", "import"):  # a folder is written as a whole: what is there would go
        source = atlas / "dictionaries" / "resid_post.1"
        assert "is there already" in refused(verb, source, "--out", tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"
    assert not list(tmp_path.glob("[dx]"))


def test_prompts_of_a_diagnosis_that_cannot_be_read(
    refused: Run, atlas: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    command = ("diagnose", atlas, "the cat", "--correct", " a", "--more", prompts)
    assert "cannot be read" in refused(*command)
    prompts.write_text('{"prompt": "a", "correct": " b"}\n{"prompt": "a"}\n')
    assert "line 2" in refused(*command)
    prompts.write_text('{"prompt": "a", "correct": " b", "wrong": 5}\n')
    assert "line 1" in refused(*command)
    for odd in ('"candidates": " Paris"', '"candidates": [5]', '"prompt": 5', '"prompt": [5]'):
        prompts.write_text(f'{{"prompt": "a", "correct": " b", {odd}}}\n')
        assert "line 1" in refused(*command)
    prompts.write_text("")
    assert "holds no prompts" in refused(*command)
    # A mistake is one line, whatever the answers are.
    refused("diagnose", atlas, "the cat sat on the old boat " * 30, "--correct", " xyz")
    assert "begins with" in refused("diagnose", atlas, "a", "--correct", " b", "--wrong", " bc")


@pytest.mark.parametrize("verb", ["trace", "diagnose", "steer", "concepts"])
def test_a_prompt_longer_than_the_context(verb: str, refused: Run, atlas: Path) -> None:
    more = {"diagnose": ["--correct", " a"], "steer": ["--feature", "resid_post.1/1"]}.get(verb, [])
    line = refused(verb, atlas, "the cat sat on the old boat " * 30, *more)
    assert "64" in line


def test_a_candidate_of_several_tokens_says_which_one_is_used(
    atlas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(["trace", str(atlas), "the cat", "--target", " underwaterboat"]) == 0
    assert "note: " in capsys.readouterr().out
    assert shell.main(["trace", str(atlas), "the cat", "--target", " xyz", "--json"]) == 0
    assert "token" in capsys.readouterr().err
    both = ["trace", str(atlas), "the cat", "--target", " a", "--against", " underwaterboat"]
    assert shell.main(both) == 0
    shown = capsys.readouterr().out
    assert "logit ' a' - ' underwaterboat'" in shown
    assert "note: of ' underwaterboat' the token " in shown
    graph = Atlas.open(atlas).traces[-1]
    assert any("is compared" in note for note in graph.notes)
    page = str(picture_html(picture(graph)))
    assert "␣a − ␣underwaterboat" in page
    assert "is compared" in page


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("search", "cat", "--limit", 0), "'--limit': '0' should be greater than or equal"),
        (("steer", "a", *FEATURE, "--temperature", -1), "'--temperature': '-1' should be"),
        (("steer", "a", *FEATURE, "--max-new-tokens", 0), "'--max-new-tokens': '0' should be"),
    ],
)
def test_a_number_out_of_range_is_named(
    command: tuple[object, ...], said: str, refused: Run, atlas: Path
) -> None:
    verb, *rest = command
    assert said in refused(verb, atlas, *rest)


def test_steering_takes_features_or_a_repair(refused: Run, atlas: Path, tmp_path: Path) -> None:
    steer = ("steer", atlas, "the cat")
    assert "steering without --feature; expected features" in refused(*steer)
    assert "--feature with --repair" in refused(*steer, *FEATURE, "--repair", "a")
    assert "--strength with --repair" in refused(*steer, "--strength", 2, "--repair", "a")
    assert "has no repair 'mine'; expected a file, or one of" in refused(*steer, "--repair", "mine")
    other = tmp_path / "other.json"
    other.write_text('{"schema": "mine", "version": 1}')
    assert "found schema 'mine'" in refused(*steer, "--repair", other)
    other.write_text('{"repair": null}')
    assert "other.json holds no repair" in refused(*steer, "--repair", other)


def test_a_folder_that_is_no_model(refused: Run, text: Path, tmp_path: Path) -> None:
    line = refused("build", tmp_path, "--text", text, "--out", tmp_path / "a")
    assert str(tmp_path) in line


@pytest.mark.parametrize("verb", ["trace", "label", "index"])
def test_a_folder_that_is_no_atlas(verb: str, refused: Run, tmp_path: Path) -> None:
    prompt = ["a prompt"] if verb == "trace" else []
    for folder in (tmp_path, tmp_path / "none"):
        line = refused(verb, folder, *prompt)
        assert str(folder) in line
    (tmp_path / "file").write_text("no atlas")
    assert "file is a file" in refused(verb, tmp_path / "file", *prompt)


def test_an_atlas_of_a_newer_version(refused: Run, atlas: Path, tmp_path: Path) -> None:
    record = (atlas / "atlas.json").read_text()
    (tmp_path / "atlas.json").write_text(record.replace('"version": 2', '"version": 9'))
    assert "found version 9 of atlas" in refused("trace", tmp_path, "a prompt")


def test_other_settings_for_an_atlas_that_is_there(
    refused: Run, atlas: Path, tiny_model: Path, text: Path
) -> None:
    before = tree(atlas)
    line = refused("build", tiny_model, "--text", text, "--out", atlas, *SMALL, "--seed", 5)
    assert "seed = 0, not 5" in line
    line = refused("build", tiny_model, "--text", text, "--out", atlas, *SMALL, "--layer", 1)
    assert "layers = the default, not 1" in line
    line = refused("build", tiny_model, "--text", text, "--out", text.parent, *SMALL)
    assert "is not empty" in line
    assert tree(atlas) == before


def test_an_unknown_dictionary_names_those_that_are_there(refused: Run, atlas: Path) -> None:
    assert "one of resid_post.1, mlp.0, mlp.1, mlp.2" in refused(
        "index", atlas, "--dictionary", "mlp.7"
    )
    for odd in ("[", "mlp.[", "resid*x"):
        line = refused("diagnose", atlas, "the cat", "--correct", " a", "--dictionary", odd)
        assert "has no dictionary" in line


def test_a_half_written_shard_is_named_and_made_again(
    refused: Run, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "atlas"
    shutil.copytree(atlas, copy)
    shard = copy / "activations" / "corpus" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    train = ("train", shard.parent, "--site", "resid_post.1", "--out", tmp_path / "d")
    assert "shard-00000.safetensors" in refused(*train)
    assert "every shard is broken" in refused(*train, "--skip-corrupt")
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # as long as it was
    assert "shard-00000.safetensors differs from its checksum" in refused(*train)
    shard.write_bytes(whole[: len(whole) // 2])
    build = ["build", str(tiny_model), "--text", str(text), "--out", str(copy), *SMALL]
    assert shell.main(build) == 0
    assert shard.read_bytes() == whole


class FullDisk:
    """Counts the bytes written through `atomic_file`; a disk that is full after `room`."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, path: Path, mode: str) -> Any:
        disk, file = self, open(path, mode)  # noqa: SIM115
        write = file.write

        class Limited:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: object) -> None:
                file.close()

            def write(self, data: Any) -> int:
                disk.room -= len(data)
                if disk.room < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                return write(data)

            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

        return Limited()


@pytest.mark.parametrize("room", [10, 3_000, 300_000])
def test_a_full_disk_loses_nothing(
    room: int,
    refused: Run,
    atlas: Path,
    tiny_model: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "atlas"
    build = ["build", tiny_model, "--text", text, "--out", out, *ALL]
    monkeypatch.setattr(atomic_module, "open", FullDisk(room), raising=False)
    line = refused(*build)
    assert "no space left" in line
    assert "it goes on where it was" in line
    monkeypatch.undo()
    assert shell.main([str(argument) for argument in build]) == 0
    checks = {name for name in tree(atlas) if name.startswith("checks/")}  # of another test
    assert tree(out).keys() == tree(atlas).keys() - checks


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """The operating system refuses files larger than `limit` bytes, whoever writes them."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.parametrize(
    ("command", "removed", "limit"),
    [
        ("train", "dictionaries", 4_000),
        ("index", "features", 4_000),
        ("index", "features", 40_000),
        ("label", "labels", 500),
    ],
)
def test_a_refused_write_in_any_library_loses_nothing(
    command: str,
    removed: str,
    limit: int,
    refused: Run,
    atlas: Path,
    tiny_model: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    copy = tmp_path / "atlas"
    shutil.copytree(atlas, copy)
    shutil.rmtree(copy / removed / "resid_post.1")
    before = tree(copy)
    build = ["build", tiny_model, "--text", text, "--out", copy, *SMALL, "--only", "train"]
    arguments = [str(a) for a in (build if command == "train" else [command, copy])]
    with small_files(limit):
        line = refused(*arguments)
    assert "no space left" in line
    partial = {name for name in tree(copy) if ".partial/" in name or ".parts/" in name}
    assert tree(copy).keys() - partial == before.keys()
    assert shell.main(arguments) == 0
    found, wanted = tree(copy), tree(atlas)
    results = [name for name in wanted if name.endswith((".safetensors", ".parquet", ".npy"))]
    assert {name: found[name] for name in results} == {name: wanted[name] for name in results}


@pytest.mark.parametrize("verb", "train sweep harvest import export".split())
def test_a_folder_of_the_users_is_refused_at_once(
    verb: str, refused: Run, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("thesis.txt", "shard-00009.safetensors", "README.md", "harvest.json"):
        (mine / name).write_text("{}")
    store, dictionary = atlas / "activations" / "corpus", atlas / "dictionaries" / "resid_post.1"
    small = ["--site", "resid_post.1", "--tokens", 2048]
    command: list[object] = {
        "train": [store, *small],
        "sweep": [store, *small, "--k", "4", "--model", tiny_model, "--held-out", text],
        "harvest": [tiny_model, "--text", text],
        "import": [dictionary],
        "export": [dictionary],
    }[verb]
    before = tree(tmp_path)
    assert "mine is there already; expected a new folder" in refused(verb, *command, "--out", mine)
    assert tree(tmp_path) == before
    if verb == "train":  # what a run in progress would be kept in
        (tmp_path / "d.partial").mkdir()
        (tmp_path / "d.partial" / "train.jsonl").write_text("mine")
        line = refused(verb, *command, "--out", tmp_path / "d")
        assert "d.partial is there already" in line
        assert (tmp_path / "d.partial" / "train.jsonl").read_text() == "mine"


def test_a_file_of_the_users_is_refused_and_a_graph_is_replaced(
    refused: Run, atlas: Path, tmp_path: Path
) -> None:
    out = tmp_path / "graph.json"
    trace = ["trace", str(atlas), "the cat", "--out", str(out)]
    assert shell.main(trace) == 0
    first = out.read_bytes()
    assert shell.main(trace) == 0
    assert out.read_bytes() == first
    out.write_text("my thesis")
    assert "this command did not write it" in refused(*trace)
    assert out.read_text() == "my thesis"
    assert "is a folder" in refused(*trace[:-1], tmp_path)
    assert "File name too long" in refused(*trace[:-1], tmp_path / ("x" * 300))


def flip(path: Path, *, at: float = 0.9) -> None:
    """Changes a byte of a file and keeps its length."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("changed", "verbs"),
    [
        ("activations/corpus/shard-00000.safetensors", ["index"]),
        ("dictionaries/mlp.0/weights.safetensors", ["trace", "index"]),
        ("features/resid_post.1/values.npy", ["label"]),
        ("features/resid_post.1/positions.npy", ["label"]),
        ("features/resid_post.1/features.parquet", ["label"]),
        ("labels/mlp.0/labels.parquet", ["trace"]),
    ],
)
def test_a_file_that_was_changed_at_equal_size_is_named(
    changed: str, verbs: list[str], refused: Run, atlas: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "atlas"
    shutil.copytree(atlas, copy)
    flip(copy / changed)
    for folder in ("labels/resid_post.1", "features/mlp.0", "dictionaries/mlp.1"):
        if not changed.startswith(folder):
            shutil.rmtree(copy / folder)
    for verb in verbs:
        line = refused(verb, copy, *(["the cat"] if verb == "trace" else []))
        # the pages of an index's tables have checksums of their own, compared as they are read
        paged = changed.endswith("features.parquet")
        said = "is half-written or corrupt" if paged else "differs from its checksum"
        assert f"{copy / changed} {said}" in line


def test_a_shard_that_was_changed_is_made_again(
    atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "atlas"
    shutil.copytree(atlas, copy)
    shard = copy / "activations" / "corpus" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    flip(shard)
    build = ["build", str(tiny_model), "--text", str(text), "--out", str(copy), *SMALL]
    assert shell.main(build) == 0
    assert shard.read_bytes() == whole


def test_a_moved_model_is_named_with_its_way_out(
    refused: Run, atlas: Path, tiny_model: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "atlas"
    shutil.copytree(atlas, copy)
    record = (copy / "atlas.json").read_text()
    (copy / "atlas.json").write_text(record.replace(str(tiny_model), "/nowhere/tiny"))
    for verb in (
        ["trace", "the cat"],
        ["concepts", "the cat"],
        ["search", "the cat", "--prompt"],
        ["feature", "mlp_act.1/3"],
    ):
        assert "say where it is now with --model" in refused(verb[0], copy, *verb[1:])
        command = [verb[0], str(copy), *verb[1:], "--model", str(tiny_model)]
        assert shell.main(command) == 0


def test_a_build_goes_on_with_a_model_that_was_renamed(
    atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    copy, renamed = tmp_path / "atlas", tmp_path / "renamed"
    shutil.copytree(atlas, copy)
    shutil.copytree(tiny_model, renamed)
    before = tree(copy)
    build = ["build", str(renamed), "--text", str(text), "--out", str(copy), *ALL]
    assert shell.main(build) == 0
    after = tree(copy)
    assert str(renamed) in after.pop("atlas.json").decode()
    del before["atlas.json"]
    assert after == before


@pytest.mark.parametrize(
    ("file", "verb"),
    [
        ("atlas.json", "trace"),
        ("dictionaries/mlp.0/dictionary.json", "trace"),
        ("dictionaries/mlp.0/weights.safetensors", "trace"),
        ("features/resid_post.1/manifest.json", "feature"),
        ("features/resid_post.1/values.npy", "feature"),
        ("features/resid_post.1/features.parquet", "feature"),
        ("labels/resid_post.1/labels.parquet", "feature"),
        ("activations/corpus/manifest.json", "index"),
        ("activations/corpus/shard-00000.safetensors", "index"),
    ],
)
def test_what_may_not_be_read_is_said_and_nothing_is_to_be_removed(
    file: str, verb: str, refused: Run, atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "atlas"
    shutil.copytree(atlas, copy)
    if verb == "index":
        shutil.rmtree(copy / "features")
    plain = open

    def denied(path: Any, *arguments: Any, **options: Any) -> Any:
        if Path(path) == copy / file:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(atomic_module, "open", denied, raising=False)
    more = {"trace": ["the cat"], "feature": ["resid_post.1/3"], "index": []}[verb]
    line = refused(verb, copy, *more)
    assert f"{copy / file} may not be read" in line
    assert "permission" in line
    assert "remove" not in line
    assert "again" not in line


def test_a_command_that_fails_leaves_no_atlas_that_blocks_the_name(
    refused: Run, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    empty, one, odd = (tmp_path / f"{name}.txt" for name in ("empty", "one", "odd"))
    empty.write_text("")
    one.write_text("a single short document")
    odd.write_bytes(b"\xff\xfe\xfd")
    out, there, hidden = (tmp_path / name for name in ("out", "there", "hidden"))
    there.mkdir()
    hidden.mkdir()
    (hidden / ".mine").write_text("kept")
    for corpus in (tmp_path / "nothere.txt", empty, one, odd):
        refused("build", tiny_model, "--text", corpus, "--out", out)
        harvest = ("--only", "harvest")
        refused("build", tiny_model, "--text", corpus, "--out", there, *harvest)
        refused("build", tiny_model, "--text", corpus, "--out", hidden)
        neurons = ("--model", tiny_model, "--dictionary", "mlp_act.1")
        refused("index", out, *neurons, "--text", corpus)
    refused("index", out, "--model", tiny_model, "--dictionary", "mlp.0", "--text", text)
    refused("index", out, "--model", tiny_model, "--dictionary", "mlp_act.1")
    refused("import", text, "--into", out, "--model", tiny_model)
    assert not out.exists()
    assert list(there.iterdir()) == []
    assert [path.name for path in hidden.iterdir()] == [".mine"]


def test_an_atlas_of_an_earlier_command_stays_when_another_fails(
    refused: Run, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    Atlas.create(tmp_path / "a", tiny_model)
    before = (tmp_path / "a" / "atlas.json").read_bytes()
    refused("index", tmp_path / "a", "--dictionary", "mlp.0", "--text", text)
    assert (tmp_path / "a" / "atlas.json").read_bytes() == before
    refused("build", tiny_model, "--text", tmp_path / "nothere", "--out", tmp_path / "a")
    assert Atlas.open(tmp_path / "a").dictionary_names == []


def test_layers_that_are_not_there_are_not_called_untrained(
    refused: Run, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    out = ("index", tmp_path / "a", "--model", tiny_model, "--text", text)
    said = refused(*out, "--dictionary", "mlp_act.7")
    assert (
        "dictionary 'mlp_act.7': tiny has 3 layers; expected one of mlp_act.0 to mlp_act.2" in said
    )
    assert "train" not in said


def test_a_dictionary_is_asked_for_of_a_model_without_an_atlas(
    refused: Run, tiny_model: Path
) -> None:
    said = refused("trace", tiny_model, "the cat", "--dictionary", "resid_post.1")
    assert "--dictionary was given" in said
    assert "folder of an atlas" in said


def test_only_formats_that_can_be_written_are_offered(
    refused: Run, atlas: Path, tmp_path: Path
) -> None:
    command = ("export", atlas / "dictionaries" / "resid_post.1", "--out", tmp_path / "x")
    expected = "one of dictionary_learning, gemma_scope, layer_files, saelens, sparsify"
    said = refused(*command, "--to", "openai")
    assert said.endswith(f"openai is read, not written; expected {expected}")


def test_a_recipe_that_cannot_be_used_is_named(
    refused: Run, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    command = ("build", tiny_model, "--text", text, "--out", tmp_path / "a", "--recipe")
    assert "cannot be read" in refused(*command, tmp_path / "none.toml")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("layers = [1\n")
    assert "recipe.toml cannot be read" in refused(*command, recipe)
    recipe.write_text("widht = 3\n")
    assert "setting widht is unknown" in refused(*command, recipe)
    assert not (tmp_path / "a").exists()
