"""What random command lines work on: files that inscape made, a user's own, and damage."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inscape.cli import main as shell

MADE = ("atlas", "store", "dict", "sae", "old", "model", "graph.json")
USERS = {
    "mine/thesis.txt": b"my thesis",
    "mine/sub/notes.txt": b"my notes",
    "file.txt": b"my file, which is one line of text",
    "latin.txt": "café ü ".encode("latin-1") * 50,
    "deep.json": b"[" * 100_000,
    "null.jsonl": b'null\n[]\n{"text": 5}\n{"prompt": 5, "correct": 6}\n',
    "explained.jsonl": b'{"index": "1", "description": "a"}\n{"index": 3, "description": "b"}\n',
    "surrogate.jsonl": b'{"text": "a \\ud800 b"}\n{"text": "c d"}\n',
    "ünï cødé/notes.txt": b"my notes",
    "new.partial/train.jsonl": b"my data",
    ".new.writing-0123456789ab/mine": b"my data",
    ".new.replaced-mine/mine": b"my data",
    "closed/mine": b"my secrets",
}
LINKS = {"link": "mine", "linkfile": "file.txt", "loop": "loop", "dangling": "elsewhere"}
PROMPTS = ({"prompt": "the cat", "correct": " sat"}, {"prompt": "a dog", "correct": " ran"})
VERBS = ("sat", "ran", "flew", "swam")
SMALL = "--expansion 2 --k 2 --train-tokens 2048 --context 32"
COMMANDS = f"""
build model --text corpus.txt --out atlas {SMALL}
harvest model --text corpus.txt --out store --context 32
export atlas/dictionaries/resid_post.0 --out sae
trace atlas 'the cat' --out graph.json
"""


def sentences(count: int, draw: random.Random) -> str:
    """Documents of common words, with blank lines between."""
    words = "the a cat dog bird fish sat ran flew on in over under red old new big boat and".split()
    return "\n\n".join(" ".join(draw.choices(words, k=draw.randint(8, 30))) for _ in range(count))


def make_model(folder: Path, text: str) -> None:
    """A random Llama of two layers with a tokenizer of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_world() -> None:
    """Fills the working directory; run in a process of its own."""
    text = sentences(60, random.Random(0))
    make_model(Path("model"), text)
    Path("texts").mkdir()
    Path("empty").mkdir()
    for name in ("corpus.txt", "texts/a.txt"):
        Path(name).write_text(text)
    documents = [json.dumps({"text": part}) for part in text.split("\n\n")]
    Path("corpus.jsonl").write_text("\n".join(documents))
    concepts = {name: [f"the {name} {did}" for did in VERBS] for name in ("cat", "dog", "bird")}
    lines = "".join(f"{name} = {json.dumps(texts)}\n" for name, texts in concepts.items())
    Path("concepts.toml").write_text(f"[lines]\n{lines}")
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, PROMPTS)))
    for line in COMMANDS.strip().splitlines():
        if shell.main(shlex.split(line)):
            raise SystemExit(f"the world was not made: {line}")
    shutil.copytree("atlas/dictionaries/resid_post.0", "dict")
    shutil.copytree("atlas", "old")
    record = json.loads(Path("old/atlas.json").read_text())
    Path("old/atlas.json").write_text(json.dumps({**record, "version": 1, "residual": "resid0"}))
    for name, content in USERS.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    for link, target in LINKS.items():
        Path(link).symlink_to(target)


def prepare(world: Path, place: Path) -> None:
    """A copy of the world, with what a copy does not bring along."""
    shutil.copytree(world, place, symlinks=True)
    for name in ("atlas", "old"):  # which name the model by its full path
        record = place / name / "atlas.json"
        record.write_text(record.read_text().replace(str(world), str(place)))
    os.mkfifo(place / "pipe")
    try:
        os.mknod(place / "node", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:  # only the superuser may make devices
        os.mkfifo(place / "node")
    (place / "closed").chmod(0)


def inside(place: Path) -> Iterator[Path]:
    """Every file, link and device."""
    for folder, folders, files in os.walk(place):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in (*files, *links))


def state_of(place: Path) -> dict[str, str]:
    """What each file is, by its place: what a line may not change."""
    (place / "closed").chmod(0o700)
    found = {}
    for path in inside(place):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            path.chmod(0o600)
            found[str(path.relative_to(place))] = hashlib.sha256(path.read_bytes()).hexdigest()
            path.chmod(stat.S_IMODE(mode))
        else:
            what = path.readlink() if stat.S_ISLNK(mode) else stat.S_IFMT(mode)
            found[str(path.relative_to(place))] = str(what)
    (place / "closed").chmod(0)
    return found


def damage(place: Path, draw: random.Random) -> list[str]:
    """Spoils some files that inscape made, and puts a user's file among them; what was done."""
    done = []
    ours = [p for p in sorted(inside(place)) if p.relative_to(place).parts[0] in MADE]
    for path in draw.sample(ours, draw.choice((0, 0, 0, 1, 1, 2))):
        how = draw.choice(("cut", "flip", "mode", "gone"))
        if path.suffix == ".json" and draw.random() < 0.6:
            how = "json"
        _spoil(path, how, draw)
        done.append(f"{how} {path.relative_to(place)}")
    if draw.random() < 0.2:
        folders = ["atlas", "store", "dict", "atlas/features/mlp.0", "atlas/dictionaries/mlp.1"]
        path = place / draw.choice(folders) / draw.choice(("thesis.txt", ".lock", "sub/mine.txt"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("my thesis")
            done.append(f"add {path.relative_to(place)}")
    if draw.random() < 0.1:
        kind = draw.choice(("features", "labels", "dictionaries"))
        name = draw.choice(("mlp.0", "mlp.1", "resid_post.0"))
        shutil.rmtree(place / "atlas" / kind / name, ignore_errors=True)
        done.append(f"gone atlas/{kind}/{name}")
    return done


def _spoil(path: Path, how: str, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if how == "json":
        plain = ("", "{", "[]", "null", "5", '"x"', "[" * 99_999, '{"a": 1}')
        path.write_text(draw.choice(plain) if draw.random() < 0.3 else _altered(content, draw))
    elif how == "mode":
        path.chmod(0)
    elif how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: draw.choice((0, 1, len(content) // 2, len(content) - 1))])
    elif content:
        for _ in range(draw.choice((1, 50))):
            content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
        path.write_bytes(content)


def _altered(text: bytes | bytearray, draw: random.Random) -> str:
    """JSON with one entry replaced or removed."""
    content = json.loads(text)
    part: Any = content
    while isinstance(part, dict) and part:
        key = draw.choice(list(part))
        if isinstance(part[key], dict) and part[key] and draw.random() < 0.7:
            part = part[key]
            continue
        part[key] = draw.choice((None, [], {}, -1, 10**30, "x", 0.5, True, "../../mine", ""))
        if draw.random() < 0.2:
            del part[key]
        break
    return json.dumps(content)
