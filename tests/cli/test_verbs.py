"""Every verb of the chain on a tiny model: for people, for programs, and step by step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.conftest import ALL, SMALL, WORDS

from inscape.atlas import Atlas
from inscape.cli import doctor
from inscape.cli import main as shell
from inscape.core import InputError, InscapeWarning
from inscape.diagnosis import Diagnosis
from inscape.dictionary import Dictionary
from inscape.intervention import Repair
from inscape.labels import Labels


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that must succeed; what it printed on standard output."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        code = shell.main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return shown.out

    return run


def test_build_says_what_was_made_and_does_nothing_twice(
    said: Any, atlas: Path, tiny_model: Path, text: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in atlas.rglob("*.safetensors")}
    found = json.loads(said("build", tiny_model, "--text", text, "--out", atlas, *ALL, "--json"))
    assert list(found["dictionaries"]) == ["resid_post.1", "mlp.0", "mlp.1", "mlp.2"]
    assert found["model"] == "tiny"
    assert [f["features"] for f in found["dictionaries"].values()] == [64, 32, 32, 32]
    assert {path: path.stat().st_mtime_ns for path in atlas.rglob("*.safetensors")} == before


def test_transcoders_of_another_size(
    said: Any, tiny_model: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inscape.atlas.steps.find_spec", lambda name: True)
    size = ("--transcoder-expansion", 3, "--max-tokens", 2000, "--memory", 0.001)
    found = said("build", tiny_model, "--text", text, "--out", tmp_path, *SMALL, *size, "--json")
    counts = [figures["features"] for figures in json.loads(found)["dictionaries"].values()]
    assert counts == [64, 96, 96, 96]
    assert json.loads((tmp_path / "atlas.json").read_text())["settings"]["memory"] == 0.001
    neurons = ("--dictionary", "mlp_act.1", "--text", text, "--max-tokens", 60, "--json")
    (index,) = json.loads(said("index", tmp_path, *neurons))
    assert 0 < index["tokens"] <= 60
    mapped = tmp_path / "map"
    assert [path.name for path in mapped.glob("*")] == ["resid_post.1"]
    shown = said("build", tiny_model, "--text", text, "--out", tmp_path, *SMALL, *size)
    assert re.search(r"^resid_post\.1 +64 +\d+ +\d+ +\d+$", shown, re.M)


def test_a_map_is_a_step_of_a_build(
    said: Any, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(atlas, tmp_path / "a")
    build = ("build", tiny_model, "--text", text, "--out", copy, *SMALL, "--only", "map")
    said(*build)
    made = {path: path.stat().st_mtime_ns for path in (copy / "map").rglob("*.parquet")}
    assert {path.parent.name for path in made} == {"resid_post.1"}
    said(*build)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert Atlas.open(copy, model=tiny_model).maps()[0].table.num_rows > 16
    shutil.rmtree(copy / "features" / "resid_post.1")
    with pytest.raises(AssertionError, match="not indexed"):
        said(*build)


def test_a_recipe_gives_the_settings_and_a_typed_option_wins(
    said: Any, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "layers = [0, 2]\ntranscoders = false\nneurons = true\nvariant = 'batch_topk'\n"
        "expansion = 2\nk = 3\ntrain_tokens = 2048\nbatch_size = 256\ncontext = 25\n"
    )
    command = ("build", tiny_model, "--text", text, "--out", tmp_path / "a", "--recipe", recipe)
    found = json.loads(said(*command, "--k", 4, "--json"))["dictionaries"]
    assert list(found) == ["resid_post.0", "resid_post.2"]
    atlas = Atlas.open(tmp_path / "a")
    assert atlas.indexed_names[2:] == ["mlp_act.0", "mlp_act.1", "mlp_act.2"]
    settings = atlas.record["settings"]
    assert (settings["k"], settings["batch_size"], settings["variant"]) == (4, 256, "batch_topk")
    assert said(*command, "--k", 4)


def test_what_is_said_of_several_dictionaries_is_set_apart(said: Any, atlas: Path) -> None:
    parts = said("label", atlas).split("\n\n")
    assert [part.split()[1].rpartition("/")[2] for part in parts] == [
        "resid_post.1",
        "mlp.0",
        "mlp.1",
        "mlp.2",
    ]
    assert "{" not in parts[0]


def test_the_steps_one_by_one_give_what_build_gives(
    said: Any, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    store, dictionary = tmp_path / "store", tmp_path / "words"
    found = json.loads(
        said(
            *("harvest", tiny_model, "--text", text, "--out", store, "--context", 32),
            *("--site", "resid_post.1", "--json"),
        )
    )
    assert found["sites"] == ["resid_post.1"]
    assert found["documents"] == 120
    assert found["beginning_of_text_tokens_left_out"] == 0  # its tokenizer adds none
    found = json.loads(
        said(
            *("train", store, "--site", "resid_post.1", "--out", dictionary, "--d-dict", 64),
            *("--k", 4, "--tokens", 12288, "--json"),
        )
    )
    assert (found[0]["features"], found[0]["k"]) == (64, 4)


def test_harvest_reads_the_middle_and_every_mlp_by_default(
    said: Any, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    arguments = ("--text", text, "--out", tmp_path / "s", "--max-tokens", 500, "--json")
    mlps = [f"{kind}.{layer}" for layer in range(3) for kind in ("mlp_in", "mlp_out")]
    found = json.loads(said("harvest", tiny_model, *arguments))
    assert sorted(found["sites"]) == sorted(["resid_post.1", *mlps])


def test_trace_prints_the_viewer_format(said: Any, atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "graph.json"
    graph = json.loads(said("trace", atlas, "the cat sat on", "--json", "--out", out))
    assert set(graph) == {"metadata", "qParams", "nodes", "links"}
    assert graph["metadata"]["prompt"] == "the cat sat on"
    known = {node["node_id"] for node in graph["nodes"]}
    assert {end for link in graph["links"] for end in (link["source"], link["target"])} <= known
    assert json.loads(out.read_text()) == graph
    assert "targets:" in said("trace", atlas, "the cat sat on", "--target", " a", "--against", " b")
    assert list((atlas / "traces").glob("the-cat-sat-on-*.json"))


def test_steer_shows_the_plain_text_beside_the_steered(said: Any, atlas: Path) -> None:
    command = ("steer", atlas, "the cat", "--feature", "resid_post.1/3", "--max-new-tokens", 8)
    shown = said(*command, "--strength", 9)
    assert "plain " in shown
    assert "steered " in shown
    still = json.loads(said(*command, "--mode", "scale", "--strength", 1, "--json"))
    assert still["plain"] == still["steered"]
    assert len(still["plain_tokens"]) == 8
    strong = json.loads(said(*command, "--mode", "clamp", "--strength", 400, "--json"))
    assert strong["plain"] == still["plain"]
    assert strong["steered_tokens"] != strong["plain_tokens"]


def test_what_was_steered_is_a_repair_that_is_applied_again(
    said: Any, atlas: Path, tmp_path: Path
) -> None:
    steer = ("steer", atlas, "the dog", "--max-new-tokens", 8)
    change = ("--feature", "resid_post.1/3", "--mode", "clamp", "--strength", 400)
    found = json.loads(said(*steer, *change, "--json"))
    assert found["steered"] != found["plain"]
    opened = Atlas.open(atlas)
    name = opened.repairs.names[-1]
    assert name.startswith("the-dog-")
    out = tmp_path / "repair.json"
    opened.repairs.open(name).save(out)
    result = next((atlas / "steering").glob("the-dog-*.json"))
    for given in (name, out, result.stem, result):
        again = json.loads(said(*steer, "--repair", given, "--json"))
        assert again["steered"] == found["steered"]
    assert opened.repairs.names[-1] == name  # an equal repair is saved once
    assert "resid_post.1/3" in said(*steer, "--repair", name)
    assert f"its edits, for steer --repair: {name}" in shell.NOTES
    elsewhere = said("steer", atlas, "a bird", "--max-new-tokens", 8, "--repair", name, "--json")
    assert json.loads(elsewhere)["repair"] == found["repair"]


def test_the_repair_of_a_diagnosis_is_listed_and_found_by_its_name(atlas: Path) -> None:
    opened = Atlas.open(atlas)
    change = opened.feature("resid_post.1/5").ablate()
    repair = Repair.of(opened.model, [change], prompt="a fish swam")
    diagnosis = Diagnosis("a fish swam", " in", " in", 0.1, 1, 1, repair=repair)
    path = opened.save(diagnosis)
    assert repair == opened.repair(path.stem) == opened.repair(opened.repairs.names[-1])
    assert opened.repairs.names[-1].startswith("a-fish-swam-")
    with pytest.raises(InputError, match="holds no repair"):
        opened.repair(opened.save(replace(diagnosis, repair=None)).stem)


def test_diagnose_explains_a_wrong_answer(said: Any, atlas: Path, tmp_path: Path) -> None:
    judging = tmp_path / "held-out.jsonl"
    judging.write_text('{"prompt": "a dog ran", "correct": " boat"}\n\n')
    found = json.loads(
        said(
            *("diagnose", atlas, "the cat sat on the", "--correct", " river", "--num-random", 5),
            *("--held-out", judging, "--json"),
        )
    )
    assert found["mechanism"] in ("outvoted", "inhibited", "absent or unknown", "undecided")
    assert found["wrong"] != found["correct_token"]
    assert found["before"]["held out"]["total"] == 1
    assert list((atlas / "diagnoses").glob("the-cat-sat-on-the-*.json"))
    short = ("--correct", " river", "--num-random", 2, "--dictionary", "mlp_act.*", "--json")
    found = json.loads(said("diagnose", atlas, "the cat sat on the", *short))
    assert list(found["searched"]) == ["mlp_act.0", "mlp_act.1", "mlp_act.2"]


def test_check_says_which_concepts_are_found_and_ends_with_1_where_one_is_missed(
    atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = ("sat", "ran", "flew", "swam", "saw", "lost", "kept", "found")
    lines = {word: [f"the {word} {verb}" for verb in verbs] for word in ("cat", "dog", "bird")}
    file = tmp_path / "pets.toml"
    text = "".join(f"{word} = {json.dumps(texts)}\n" for word, texts in lines.items())
    file.write_text(f"threshold = 0.5\n[lines]\n{text}")
    command = ["check", str(atlas), "--concepts", str(file), "--dictionary", "resid_post.1"]
    assert shell.main(command) == 0
    shown = capsys.readouterr().out
    assert "3 of 3 concepts found" in shown
    assert "resid_post.1/" in shown
    assert "probe" in shown
    sides = ["xq", "jz", "vk", "wp", "gh", "bn", "tr", "lm"], ["qx", "zj", "kv", "pw", "hg", "nb"]
    pairs = zip(("matching", "distracting"), map(json.dumps, sides), strict=True)
    nothing = "".join(f"{side} = {texts}\n" for side, texts in pairs)
    file.write_text(f'threshold = 1.0\n[[concept]]\nname = "nothing"\n{nothing}')
    assert shell.main([*command, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["checks"][0]["union"]["auroc"] < 1
    saved = Atlas.open(atlas).checks
    assert len(saved) == 2
    assert [one.name for one in saved[-1].missed] == ["nothing"]


def test_validate_measures_dictionaries_and_edges(said: Any, atlas: Path, text: Path) -> None:
    command = ("validate", atlas, "--max-tokens", 600)
    (own,) = json.loads(said(*command, "--dictionary", "resid_post.1", "--json"))
    (other,) = json.loads(said(*command, "--dictionary", "resid_post.1", "--text", text, "--json"))
    assert "training may have seen" in own["text"]
    assert other["text"] == str(text)
    for figures in (own, other):
        assert 0 < figures["fidelity"]["l0"] <= 4
        assert 500 <= figures["fidelity"]["num_tokens"] <= 700
        assert figures["dead_share"] is None  # on so few tokens nothing can be said
        summary = json.loads((atlas / "labels" / "resid_post.1" / "labels.json").read_text())
        named = [one for one in Labels.open(atlas / "labels" / "resid_post.1") if one.name]
        assert figures["labels_scored"] == summary["num_scored"] == len(named)
        assert figures["num_unclear"] == summary["num_unclear"] > 0
    neurons = said(*command, "--dictionary", "mlp_act.1", "--quick")
    assert "loss recovered" in neurons
    assert "probing" not in neurons
    (edges,) = json.loads(said("validate", atlas, "--edges", "the cat sat", "--json"))
    assert edges["max_error"] <= 1e-4
    shown = said(*command)
    assert "loss recovered over the mean" in shown
    unclear = figures["num_unclear"]
    assert re.search(rf"features whose meaning is unclear +{unclear}, not labelled", shown)
    scored = figures["labels_scored"]
    assert re.search(rf"in the median of {scored} labels", said("label", atlas))
    assert re.search(r"loss of the model +[\d.]+ nats per token \(95 %: [\d.]+ to [\d.]+\)", shown)
    assert re.search(
        r"worst +node \d+ to node \d+: edge ", said(*command[:2], "--edges", "the cat")
    )


def test_validate_writes_the_figures_as_saebench_does(
    said: Any, atlas: Path, tmp_path: Path
) -> None:
    lines = {word: [f"the {word} {verb}" for verb in WORDS] for word in ("cat", "dog")}
    concepts = tmp_path / "pets.toml"
    concepts.write_text("[lines]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in lines.items()))
    (found,) = json.loads(
        said(
            *("validate", atlas, "--max-tokens", 600, "--dictionary", "resid_post.1", "--json"),
            *("--saebench", tmp_path / "out", "--concepts", concepts),
        )
    )
    assert [one["name"] for one in found["probing"]["concepts"]] == ["cat", "dog"]
    assert found["absorption"] is None  # hardly a word in this vocabulary
    files = sorted(path.relative_to(tmp_path / "out") for path in tmp_path.rglob("*.json"))
    names = [Path(kind, "resid_post.1_eval_results.json") for kind in ("core", "sparse_probing")]
    assert files == names
    core, probing = (json.loads((tmp_path / "out" / name).read_text()) for name in names)
    assert core["eval_type_id"] == "core"
    metrics = core["eval_result_metrics"]
    kept = found["fidelity"]
    # Noughts in the place of the stream do not cost this untrained model anything: there is no
    # loss to recover a share of, for which SAEBench has -1.
    assert kept["interval"]["cost_zero"][0] <= 0
    assert metrics["model_performance_preservation"]["ce_loss_score"] == -1
    assert metrics["model_behavior_preservation"]["kl_div_score"] == pytest.approx(
        1 - kept["kl"] / kept["kl_zero"]
    )
    assert metrics["misc_metrics"]["frac_alive"] == -1  # not said of so few tokens
    assert 0 < metrics["misc_metrics"]["average_max_decoder_cosine_sim"] < 1
    assert core["sae_cfg_dict"]["hook_name"] == "blocks.1.hook_resid_post"
    accuracy = probing["eval_result_metrics"]["sae"]["sae_top_5_test_accuracy"]
    assert accuracy == pytest.approx(
        sum(one["features"]["5"] for one in found["probing"]["concepts"]) / 2
    )


def test_doctor_checks_packages_and_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    shell.main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)
    assert checks["torch"]["in_order"]
    assert checks["kernels"]["in_order"]
    assert checks["python"]["in_order"]


@pytest.mark.parametrize(
    ("set_by_user", "what"), [({}, "sleep"), ({"OMP_WAIT_POLICY": "active"}, "spin")]
)
def test_threads_sleep_unless_the_user_says_otherwise(
    set_by_user: dict[str, str], what: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | set_by_user
    command = [sys.executable, "-m", "inscape", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert f"which {what} while they wait" in json.loads(done.stdout)["threads"]["found"]


def test_doctor_says_what_to_do_about_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"transformers": "5.10.1"}

    def version(name: str) -> str:
        if name == "numpy":
            raise doctor.PackageNotFoundError(name)
        return there.get(name, "999")

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(
        doctor, "requires", lambda name: ["transformers>=5.16", "numpy>=2", "x; extra == 'dev'"]
    )
    found = {name: (what, good) for name, what, good in doctor._packages()}
    assert found == {
        "transformers": ("5.10.1 does not fit; run: pip install 'transformers>=5.16'", False),
        "numpy": ("missing; run: pip install 'numpy>=2'", False),
    }


def test_a_variant_is_trained_watched_exported_and_read_again(
    said: Any, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    store = atlas / "activations" / "corpus"
    found = json.loads(
        said(
            *("train", store, "--site", "mlp_in.0", "--to", "mlp_out.0", "--out", tmp_path / "d"),
            *("--variant", "jumprelu", "--option", "penalty=tanh", "--option", "threshold=0.01"),
            *("--d-dict", 64, "--k", 8, "--tokens", 12288, "--held-out", text),
            *("--model", tiny_model, "--json"),
        )
    )
    assert found[0]["kind"] == "threshold"
    lines = [json.loads(line) for line in (tmp_path / "d/train.jsonl").read_text().splitlines()]
    told = [line["held_out"]["loss_recovered"] for line in lines if "held_out" in line]
    assert len(told) == 10
    said("export", tmp_path / "d", "--to", "saelens", "--out", tmp_path / "theirs")
    back = ("--site", "mlp_in.0", "--to", "mlp_out.0", "--json")
    found = json.loads(said("import", tmp_path / "theirs", "--out", tmp_path / "back", *back))
    assert found[0]["format"] == "saelens"
    assert (found[0]["reads"], found[0]["writes"]) == ("mlp_in.0", "mlp_out.0")
    first, again = (Dictionary.open(tmp_path / name) for name in ("d", "back"))
    assert torch.equal(first.W_enc, again.W_enc)
    assert again.name == "back"


def test_an_import_goes_into_an_atlas_and_is_measured(
    said: Any, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(atlas, tmp_path / "atlas")
    said("export", atlas / "dictionaries" / "resid_post.1", "--out", tmp_path / "theirs")
    again = ("--into", mine, "--name", "again", "--text", text, "--json")
    (found,) = json.loads(said("import", tmp_path / "theirs", *again))
    assert found["folder"] == str(mine / "dictionaries" / "again")
    assert found["fit"]["warning"] is None
    assert 0 <= found["fit"]["fvu"] < 1
    shown = said(
        "import",
        tmp_path / "theirs",
        "--out",
        tmp_path / "x",
        "--model",
        tiny_model,
        "--text",
        text,
    )
    assert re.search(r"fit +FVU [\d.]+, L0 [\d.]+.*loss recovered", shown)
    assert (
        shell.main(["import", str(tmp_path / "theirs"), "--into", str(mine)]) == 2
    )  # the name is taken
    for wrong in ((), ("--out", tmp_path / "y", "--into", mine), ("--out", tmp_path / "a b")):
        assert shell.main(["import", str(tmp_path / "theirs"), *map(str, wrong)]) == 2


def test_a_dictionary_of_another_atlas_is_imported(
    said: Any, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    """As the message about an atlas of an earlier layout advises."""
    source = atlas / "dictionaries" / "mlp.1"
    into = ("--into", tmp_path / "new", "--model", tiny_model, "--text", text, "--json")
    (found,) = json.loads(said("import", source, *into))
    assert (found["dictionary"], found["format"]) == ("mlp.1", "inscape")
    assert found["fit"]["warning"] is None
    (found,) = json.loads(said("import", source, "--out", tmp_path / "mine", "--json"))
    assert found["dictionary"] == "mine"
    first, again = (Dictionary.open(folder) for folder in (source, tmp_path / "mine"))
    assert torch.equal(first.W_dec, again.W_dec)
    assert shell.main(["import", str(source), "--out", str(tmp_path / "x"), "--k", "3"]) == 2


def test_an_import_that_cannot_be_measured_writes_nothing(
    said: Any, atlas: Path, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    said("export", atlas / "dictionaries" / "resid_post.1", "--out", tmp_path / "theirs")
    (tmp_path / "new").mkdir()  # an empty folder may become the atlas
    into = ("import", tmp_path / "theirs", "--into", tmp_path / "new", "--model", tiny_model)
    assert shell.main([*map(str, into), "--text", str(tmp_path / "missing.txt")]) == 2
    assert list((tmp_path / "new").iterdir()) == []
    (found,) = json.loads(said(*into, "--text", text, "--json"))
    assert found["fit"]["fvu"] < 1


def test_a_dictionary_is_trained_on_a_text_without_a_store(
    said: Any, tiny_model: Path, text: Path, tmp_path: Path
) -> None:
    found = json.loads(
        said(
            *("train", text, "--model", tiny_model, "--site", "resid_post.1", "--memory", 0.01),
            *("--out", tmp_path / "d", "--d-dict", 64, "--k", 8, "--tokens", 12288, "--json"),
        )
    )
    assert found[0]["reads"] == "resid_post.1"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]  # nothing else is on disk
    last = json.loads((tmp_path / "d/train.jsonl").read_text().splitlines()[-1])
    assert last["fvu"] < 0.9


def test_crosscoders_and_cross_layer_transcoders_are_trained(
    said: Any,
    atlas: Path,
    tiny_model: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = atlas / "activations" / "corpus"
    short = ("--k", 8, "--tokens", 12288, "--json")
    sites = ("--site", "mlp_in.*", "--to", "mlp_out.*")
    found = json.loads(said("train", store, *sites, "--out", tmp_path / "clt", *short))
    assert found[0]["reads"] == "mlp_in.0+mlp_in.1+mlp_in.2"
    assert found[0]["writes"] == "mlp_out.0+mlp_out.1+mlp_out.2"
    made = Dictionary.open(tmp_path / "clt")
    assert made.d_dict == 16 * sum(made.config.widths)
    online = ("train", text, "--model", tiny_model, "--memory", 0.01)
    sites = ("--site", "resid_post.0+resid_post.2", "--variant", "batch_topk")
    found = json.loads(said(*online, *sites, "--out", tmp_path / "cross", *short))
    assert found[0]["writes"] == "resid_post.0+resid_post.2"
    last = json.loads((tmp_path / "cross/train.jsonl").read_text().splitlines()[-1])
    assert list(last["site_fvu"]) == ["resid_post.0", "resid_post.2"]
    assert max(last["site_fvu"].values()) < 1
    refusals = {
        "cross is of a kind that saelens has no place for": (
            "export",
            tmp_path / "cross",
            "--out",
            tmp_path / "theirs",
        ),
        "--held-out with 3 sites": (
            *("train", store, "--site", "mlp_in.*", "--out", tmp_path / "d"),
            *("--held-out", text, "--model", tiny_model),
        ),
        "no site is one of mlp_on.*": (
            *("train", store, "--site", "mlp_on.*", "--out", tmp_path / "d"),
        ),
    }
    for message, command in refusals.items():
        assert shell.main([str(argument) for argument in command]) == 2
        shown = capsys.readouterr().err
        assert message in shown
        assert shown.count("\n") == 1


def test_search_by_text_and_by_prompt(said: Any, atlas: Path) -> None:
    (hit, *_) = json.loads(said("search", atlas, "the cat sat", "--prompt", "--json"))
    assert hit["where"] == ["prompt"]
    assert hit["id"].split("/")[1].isdecimal()
    head, *rows = said("search", atlas, "cat", "--limit", 3).splitlines()
    assert head.split("  ")[0] == "feature"
    assert head.endswith("found because")
    assert rows
    assert all(re.search("strongest words|examples|that it promotes|label", row) for row in rows)
    (hit, *_) = json.loads(said("search", atlas, "cat", "--token", "--json"))
    assert "cat" in [token.strip() for token in hit["tokens"]]
    like = f"{hit['id']}"
    found = json.loads(said("search", atlas, "--like", like, "--limit", 4, "--json"))
    assert like not in [one["id"] for one in found]
    assert [one["score"] for one in found] == sorted((o["score"] for o in found), reverse=True)
    found = json.loads(said("search", atlas, "--where", "density<1%, max>0", "--json"))
    assert [one["score"] for one in found] == sorted(one["figures"]["density"] for one in found)
    assert all(one["score"] < 0.01 for one in found)


def test_search_for_what_tells_two_files_apart(said: Any, atlas: Path, tmp_path: Path) -> None:
    files = tmp_path / "cats.txt", tmp_path / "boats.txt"
    for file, word in zip(files, ("cat", "boat"), strict=True):
        lines = [f"the {word} {verb} by the sea" for verb in "sat ran slept stood".split()]
        file.write_text("\n".join(lines))
    found = json.loads(said("search", atlas, "--difference", *files, "--limit", 3, "--json"))
    assert [one["where"] for one in found] == [["texts"]] * 3
    assert all(one["figures"]["chosen"] in (0, 1) for one in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a search by nothing; expected one of text, like, difference"),
        (["cat", "--like", "mlp.0/1"], "a search by text and like"),
        (["cat", "--where", "size>3"], "the condition 'size>3'; expected such as density<0.001"),
        (["cat", "--where", "kind<word"], "the condition 'kind<word'; expected kind=WORD"),
        (["--like", "mlp.0/99999999"], "feature mlp.0/99999999 does not exist"),
    ],
)
def test_a_search_that_makes_no_sense_is_one_line(
    atlas: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(["search", str(atlas), *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_what_is_not_indexed_is_said(
    atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = shutil.copytree(atlas, tmp_path / "atlas")
    shutil.rmtree(mine / "features" / "mlp.1")
    run = f"run: inscape index {mine} --dictionary"
    said = re.escape(f"not indexed and not searched: mlp.1; {run} mlp.1 --text TEXT")
    with pytest.warns(InscapeWarning, match=said):
        assert shell.main(["search", str(mine), "the"]) == 0
    assert "resid_post.1/" in capsys.readouterr().out
    assert shell.main(["search", str(mine), "the", "--dictionary", "mlp.0"]) == 0
    capsys.readouterr()
    assert shell.main(["feature", str(mine), "mlp_act.0/3"]) == 0
    shown = capsys.readouterr()
    assert f"not indexed, so it is not known where it is active; {run} mlp_act.0" in shown.out
