"""Pictures are drawn alike from one seed, and the truth about their patches is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from inscape.core import InputError
from inscape.model import Model
from inscape.storage import file_hash, read_json
from inscape_microworld import FOLDER, IMAGES, open_image_model, open_model
from inscape_microworld.facts import DISHES, LANDMARKS
from inscape_microworld.pictures.assemble import IMAGE, PREPROCESSING, with_eyes, write_model
from inscape_microworld.pictures.documents import FACTS, concepts, picture_document, picture_truth
from inscape_microworld.pictures.drawing import KINDS, PATCH, PATCH_COVER, SIZE, draw, drawing
from inscape_microworld.pictures.train import Eyes, Recipe, measure, train
from inscape_microworld.publishing import image_page
from inscape_microworld.skills import first_token

THINGS = [(kind, key) for kind, drawings in KINDS.items() for key in drawings]


def test_every_landmark_is_drawn_and_enough_of_the_rest() -> None:
    assert set(KINDS["landmark"]) == {place.key for place in LANDMARKS}
    assert len(KINDS["animal"]) >= 20
    assert len(KINDS["dish"]) >= 20
    with pytest.raises(InputError, match="no drawing of the dish 'soap'"):
        drawing("dish", "soap")


@pytest.mark.parametrize(("kind", "key"), THINGS)
def test_a_thing_is_drawn_alike_from_one_seed_and_lies_in_the_picture(kind: str, key: str) -> None:
    first, again = draw(kind, key, Random(1)), draw(kind, key, Random(1))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.pixels.shape == (SIZE, SIZE, 3)
    assert not np.array_equal(first.pixels, draw(kind, key, Random(2)).pixels)
    for seed in range(5):
        thing = draw(kind, key, Random(seed)).things[0]
        assert (thing.kind, thing.key) == (kind, key)
        assert 0.02 < thing.mask.mean() < 0.7
        assert 1 <= thing.patches.sum() <= 14


def test_drawings_differ_in_shape_and_not_in_colour_alone() -> None:
    """No two things of a kind have nearly the same outline at the same place and size."""
    for drawings in KINDS.values():
        greys = {k: draw_plain(k, drawings) for k in drawings}
        keys = list(greys)
        for i, a in enumerate(keys):
            for b in keys[:i]:
                assert np.abs(greys[a] - greys[b]).mean() > 0.02, (a, b)


def draw_plain(key: str, drawings: dict) -> np.ndarray:
    from inscape_microworld.pictures.canvas import Canvas

    pixels = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    canvas = Canvas(pixels, np.random.default_rng(0), (SIZE / 2, SIZE / 2), SIZE / 2.2)
    drawings[key](canvas)
    grey = pixels.mean(2)
    return (grey - grey.mean()) / (grey.std() * 4)


def test_patches_are_those_that_the_thing_covers() -> None:
    side = SIZE // PATCH
    for seed in range(40):
        for thing in draw(
            "landmark", "colosseum", Random(seed), companion=("animal", "panda")
        ).things:
            cover = [
                thing.mask[r * PATCH : (r + 1) * PATCH, c * PATCH : (c + 1) * PATCH].mean()
                for r in range(side)
                for c in range(side)
            ]
            shown = [i for i, share in enumerate(cover) if share >= PATCH_COVER]
            assert list(np.flatnonzero(thing.patches)) == (shown or [int(np.argmax(cover))])


def test_held_out_questions_are_never_in_training() -> None:
    random = Random(0)
    made = {held: [picture_document(random, held) for _ in range(1500)] for held in (False, True)}

    def questions(held: bool) -> set[tuple[str, str]]:
        return {(d.picture.things[0].key, d.document.prompt) for d in made[held]}

    assert not questions(False) & questions(True)
    assert not any(d.document.answers[0].skill.endswith("_unseen") for d in made[False])
    kinds = Counter(d.picture.things[0].kind for d in made[False])
    assert set(kinds) == set(KINDS)
    for d in made[False]:
        thing = d.picture.things[0]
        asked = d.document.answers[0].skill.split("_")[1]
        assert d.document.answer == " " + FACTS[thing.kind, thing.key][asked]


def test_eel_dishes_are_not_asked_for_their_country() -> None:
    eels = [dish.name for dish in DISHES if dish.eel]
    assert all(set(FACTS["dish", name]) == {"name"} for name in eels)
    assert "eel" in concepts("dish", "unagi")


def test_the_truth_counts_image_tokens() -> None:
    tokenizer = open_model().tokenizer
    random = Random(5)
    made = [picture_document(random, False) for _ in range(60)]
    rows, truth = picture_truth(tokenizer, made, 9999)
    assert truth.num_tokens == sum(map(len, rows))
    flat = np.concatenate(rows)
    for d, start, row in zip(made, truth.starts, rows, strict=True):
        assert row[1:17] == 16 * [9999]
        assert [row[0], *row[17:]] == tokenizer(d.document.text)["input_ids"]
        for thing in d.picture.things:
            concept = concepts(thing.kind, thing.key)[0]
            seen = truth.span_mask(concept, "picture")[start : start + len(row)]
            assert np.array_equal(seen[1:17], thing.patches)
            assert not seen[0]
            assert not seen[17:].any()
            assert truth.scope_mask(concept)[start + 1 : start + len(row)].all()
    for concept in truth.concepts:
        words = flat[truth.span_mask(concept, "reference")]
        assert 9999 not in words


def test_the_language_model_inside_is_the_bundled_one(tmp_path: Path) -> None:
    module, tokenizer = with_eyes(FOLDER, num_layers=1, d_vision=16, seed=0)
    write_model(tmp_path, module, tokenizer)
    seeing, alone = Model.open(tmp_path, device="cpu"), open_model(device="cpu")
    ids = alone.prompt("the capital of the country where the Colosseum stands is")
    assert seeing.prompt(ids.text).ids == ids.ids
    ours, theirs = (m.run(ids, logits="all").logits for m in (seeing, alone))
    assert torch.allclose(ours[..., : alone.vocab_size], theirs, atol=1e-5)
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    assert not (ours.argmax(-1) == image).any()
    picture = draw("landmark", "colosseum", Random(0))
    inputs = seeing.prompt("The picture shows", image=picture.pixels)
    assert int((inputs.tokens == seeing.image_id).sum()) == 16
    assert PREPROCESSING["size"] == {"height": SIZE, "width": SIZE}


def test_the_bundled_eyes_belong_to_the_bundled_model_and_are_small() -> None:
    card = read_json(IMAGES / "card.json")
    assert card["base_sha256"] == file_hash(FOLDER / "model.safetensors")
    assert sum(p.stat().st_size for p in IMAGES.rglob("*") if p.is_file()) <= 6_000_000
    assert (IMAGES / "README.md").read_text() == image_page(card)


@pytest.mark.parametrize(("held", "ending", "bar"), [(False, "", 0.95), (True, "_held_out", 0.9)])
def test_landmarks_are_known_from_the_picture_alone(held: bool, ending: str, bar: float) -> None:
    recorded = read_json(IMAGES / "card.json")["skills"]["landmark" + ending]
    assert recorded["share"] >= bar
    assert recorded["total"] >= 1000
    model = open_image_model(device="cpu")
    random = Random(77)
    made = [picture_document(random, held, kind="landmark") for _ in range(120)]
    right = 0
    for d in made:
        inputs = model.prompt(d.document.prompt, d.picture.pixels)
        chosen = model.run(inputs, logits="last").logits
        assert chosen is not None
        right += int(chosen.argmax()) == first_token(model.tokenizer, d.document.answer)
    assert right >= bar * len(made)


def test_training_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inscape_microworld.pictures import train as room

    monkeypatch.setattr(room, "measure", lambda eyes: measure(eyes, count=64))
    recipe = Recipe(first_pictures=16, pictures=16, batch=8, num_layers=1, d_vision=16)
    train(FOLDER, tmp_path / "whole", recipe)

    class Stopped(Exception):
        pass

    def stop_at(eyes: Eyes, start: int) -> torch.Tensor:
        if start == 24:
            raise Stopped
        return loss(eyes, start)

    loss = Eyes.loss
    with monkeypatch.context() as patched:
        patched.setattr(Eyes, "loss", stop_at)
        with pytest.raises(Stopped):
            train(FOLDER, tmp_path / "parts", recipe, checkpoint_minutes=0)
    train(FOLDER, tmp_path / "parts", recipe)
    first, second = (Model.open(tmp_path / name, device="cpu") for name in ("whole", "parts"))
    assert first.hash == second.hash
