"""`inscape label` by a language model behind a real server, and from published files."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.labels.chat_server import Served, labelled, serving
from tests.labels.fake_embedder import WordEmbedder

from inscape.atlas import Atlas
from inscape.cli import main as shell
from inscape.core import InscapeWarning
from inscape.storage import lock

NAME = "resid_post.1"
KEY = "secret-0123456789"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(Served(lambda body: labelled("a small thing"))) as server:
        yield server


@pytest.fixture
def mine(atlas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the atlas, with a small embedder."""
    monkeypatch.setattr("inscape.labels.others._embedder", WordEmbedder)
    return shutil.copytree(atlas, tmp_path / "mine")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = shell.main([str(word) for word in words])
    found = capsys.readouterr()
    return code, found.out, found.err


def command(mine: Path, served: Served, *more: object) -> tuple[object, ...]:
    one = ("--dictionary", NAME, "--endpoint", served.url, "--endpoint-model", "org/m:1")
    return ("label", mine, *one, *more)


def test_a_model_names_the_features(
    capsys: pytest.CaptureFixture[str], mine: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    prices = ("--input-price", 1, "--output-price", 2)
    key = ("--key-env", "MY_KEY")
    code, out, err = run(capsys, *command(mine, served, *key, *prices, "--dry-run", "--json"))
    estimate = json.loads(out)
    assert code == 0
    assert not served.requests
    assert estimate["num_questions"] > 5
    code, out, err = run(capsys, *command(mine, served, *key, *prices, "--json"))
    assert code == 0, err
    (found,) = json.loads(out)
    assert found["asked"]["num_answered"] == estimate["num_questions"] == len(served.requests)
    assert found["num_scored"] > 0
    assert found["median_auroc_text"] == found["median_auroc"]
    assert "beside_offline" in found
    assert "questions" in err
    assert "cost of at most" in err
    opened = Atlas.open(mine)
    labels = opened.labels(NAME)
    assert labels is not None
    assert labels.folder.name == f"{NAME}@llm-org-m-1"
    assert {one.source for one in labels} == {"llm:org/m:1"}
    assert opened.writers(NAME) == ["", "llm-org-m-1"]
    feature = next(iter(labels)).feature
    assert opened.feature_name(NAME, feature) == "a small thing"
    assert served.headers[0]["Authorization"] == f"Bearer {KEY}"
    for path in mine.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in out + err
    # again: nothing is asked, and the offline ones come back when they are asked for
    count = len(served.requests)
    assert run(capsys, *command(mine, served, *key))[0] == 0
    assert len(served.requests) == count
    assert run(capsys, "label", mine, "--dictionary", NAME)[0] == 0
    offline = Atlas.open(mine).labels(NAME)
    assert offline is not None
    assert offline.folder.name == NAME


def test_a_run_that_stops_at_a_limit_goes_on(
    capsys: pytest.CaptureFixture[str], mine: Path, served: Served
) -> None:
    limit = ("--max-tokens", 3000, "--concurrency", 1, "--json")
    with pytest.warns(InscapeWarning, match="the limit of 3,000 tokens"):
        code, out, err = run(capsys, *command(mine, served, *limit))
    assert code == 0, err
    (found,) = json.loads(out)
    asked = found["asked"]
    assert asked["prompt_tokens"] + asked["completion_tokens"] <= 3000
    assert 0 < asked["num_answered"] < asked["num_questions"]
    shown = Atlas.open(mine).labels(NAME)
    assert shown is not None
    assert shown.folder.name == NAME  # some names alone would hide the others
    code, out, err = run(capsys, *command(mine, served, "--json"))
    assert json.loads(out)[0]["asked"]["num_answered"] == asked["num_questions"]
    assert len(served.requests) == asked["num_questions"]


def test_published_explanations_are_labels(
    capsys: pytest.CaptureFixture[str], mine: Path, tmp_path: Path
) -> None:
    rows = [
        {"modelId": "m", "layer": "1-res", "index": str(i), "description": f"thing {i}"}
        for i in range(5)
    ]
    file = tmp_path / "batch-0.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    code, out, err = run(capsys, "label", mine, "--from", file, "--dictionary", NAME)
    assert code == 0, err
    assert "5 of m/1-res" in out
    assert "text alone, beside the offline labels' text" in out
    labels = Atlas.open(mine).labels(NAME, "published-batch-0")
    assert labels is not None
    assert {one.source for one in labels} == {"published:batch-0"}
    code, _, err = run(capsys, "label", mine, "--from", file)
    assert code == 2
    assert "name it with --dictionary" in err


def test_an_export_to_neuronpedia_is_read_back(
    capsys: pytest.CaptureFixture[str], mine: Path, tmp_path: Path
) -> None:
    given, out = tmp_path / "given.jsonl", tmp_path / "exports"
    lines = [json.dumps({"index": i, "description": f"cats and mats {i}"}) for i in range(40)]
    given.write_text("\n".join(lines))
    there = ("--from", given, "--dictionary", NAME, "--name", "given")
    assert run(capsys, "label", mine, *there)[0] == 0
    assert run(capsys, "export", mine, "--to", "neuronpedia", "--out", out)[0] == 0
    (folder,) = (path.parent for path in out.rglob("explanations") if "resid-post" in str(path))
    code, _, err = run(
        capsys, "label", mine, "--from", folder, "--dictionary", NAME, "--name", "back", "--json"
    )
    assert code == 0, err
    opened = Atlas.open(mine)
    given_labels, back = (opened.labels(NAME, f"published-{name}") for name in ("given", "back"))
    assert given_labels is not None
    assert back is not None
    named = {one.feature: " ".join(one.text.split()) for one in given_labels if one.name}
    assert {one.feature: one.text for one in back} == named


def test_an_atlas_is_exported_as_pages_and_for_the_hub(
    capsys: pytest.CaptureFixture[str], mine: Path, tmp_path: Path
) -> None:
    code, out, err = run(capsys, "export", mine, "--to", "pages", "--out", tmp_path / "site")
    assert code == 0, err
    assert (tmp_path / "site" / "index.html").is_file()
    one = ("--dictionary", NAME, "--out", tmp_path / "hub", "--json")
    code, out, err = run(capsys, "export", mine, "--to", "huggingface", *one)
    assert code == 0, err
    assert "--license" in err
    assert json.loads(out)[0]["for"] == "huggingface"
    assert (tmp_path / "hub" / "README.md").is_file()
    one = ("--dictionary", NAME, "--out", tmp_path / "theirs")
    assert run(capsys, "export", mine, "--to", "saelens", *one)[0] == 0
    assert (tmp_path / "theirs" / "cfg.json").is_file()


def test_a_shared_atlas_can_be_labelled_without_scores(
    capsys: pytest.CaptureFixture[str], mine: Path, served: Served, tmp_path: Path
) -> None:
    one = ("--dictionary", NAME, "--out", tmp_path / "hub")
    assert run(capsys, "export", mine, "--to", "huggingface", *one)[0] == 0
    with pytest.warns(InscapeWarning, match="not scored: the index of .* holds examples only"):
        code, out, err = run(capsys, *command(tmp_path / "hub", served, "--json"))
    assert code == 0, err
    (found,) = json.loads(out)
    assert found["num_labelled"] == len(served.requests) > 5
    assert found["num_scored"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--endpoint", "http://127.0.0.1:9", "--by", "x"], "--by and --endpoint; expected one"),
        (["--endpoint", "http://127.0.0.1:9"], "without --endpoint-model"),
        (["--endpoint", "nowhere", "--endpoint-model", "m"], "'nowhere' is no address"),
        (["--endpoint", "http://127.0.0.1:9", "--endpoint-model", "m"], "cannot be reached"),
        (["--max-cost", "1"], "--max-cost without --by or --endpoint"),
        (["--dry-run"], "--dry-run without --by or --endpoint"),
        (["--key-env", "X"], "--key-env without --endpoint"),
        (["--name", "x"], "--name without --from"),
        (["--by", "x", "--max-cost", "1"], ""),
        (
            ["--endpoint", "http://h", "--endpoint-model", "m", "--max-cost", "1"],
            "give them with --input-price",
        ),
        (["--endpoint", "http://h", "--endpoint-model", "m", "--key-env", KEY], "and not the key"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], atlas: Path
) -> None:
    code, _, err = run(capsys, "label", atlas, "--dictionary", NAME, *words)
    assert code == 2
    lines = [line for line in err.splitlines() if "questions" not in line]
    assert len(lines) == 1
    assert said in err
    assert KEY not in err


def test_an_atlas_that_is_being_written_keeps_the_answers(
    capsys: pytest.CaptureFixture[str], mine: Path, served: Served
) -> None:
    with lock(mine):
        code, _, err = run(capsys, *command(mine, served))
    assert code == 2
    assert "is being written by process" in err
    count = len(served.requests)
    assert count > 5
    assert run(capsys, *command(mine, served))[0] == 0
    assert len(served.requests) == count


def test_what_others_write_meanwhile_is_kept(
    capsys: pytest.CaptureFixture[str], mine: Path, served: Served
) -> None:
    def usual(body: dict[str, Any]) -> bytes:
        if len(served.requests) == 3:
            record = json.loads((mine / "atlas.json").read_text())
            record["by another"] = True
            (mine / "atlas.json").write_text(json.dumps(record))
        return labelled("a small thing")

    served.usual = usual
    assert run(capsys, *command(mine, served))[0] == 0
    record = json.loads((mine / "atlas.json").read_text())
    assert record["by another"] is True
    assert record["labels"] == {NAME: "llm-org-m-1"}
