"""Image-text models: sites at the positions of patches, and text alone as in a causal model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import tiny, tiny_tokenizer
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

from inscape.core import InputError, ModelError
from inscape.model import Inputs, Model

IMAGE_ID, PATCHES, SIDE = 299, 4, 16
PREPROCESSING: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": SIDE},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIDE, "width": SIDE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}


def with_eyes(family: str = "llama") -> LlavaForConditionalGeneration:
    """A tiny LLaVA whose language model is the tiny one of `family`."""
    language = tiny(family, vocab_size=300)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language.config,
        image_token_index=IMAGE_ID,
        image_seq_length=PATCHES,
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    module = LlavaForConditionalGeneration(config).eval()
    module.model.language_model.load_state_dict(language.base_model.state_dict())
    module.lm_head.load_state_dict(language.lm_head.state_dict())
    return module


def picture(seed: int = 0, height: int = SIDE, width: int = SIDE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.wrap(with_eyes(), tiny_tokenizer(), preprocessing=PREPROCESSING)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_text_alone_gives_what_the_language_model_gives(family: str) -> None:
    seeing = Model.wrap(with_eyes(family), tiny_tokenizer())
    alone = Model.wrap(tiny(family, vocab_size=300), tiny_tokenizer())
    ids = alone.prompt("the cat sat")
    assert seeing.adapter.model_type == "llava"
    assert (seeing.num_layers, seeing.d_model) == (alone.num_layers, alone.d_model)
    ours = seeing.run(ids, read=seeing.sites(), logits="all")
    theirs = alone.run(ids, read=alone.sites(), logits="all")
    assert torch.equal(ours.logits, theirs.logits)
    assert all(torch.equal(ours[site], theirs[site]) for site in alone.sites())
    assert torch.equal(seeing.generate(ids, 5), alone.generate(ids, 5))


def test_a_picture_goes_between_bos_and_the_text(model: Model) -> None:
    inputs = model.prompt("the cat", image=picture())
    words = model.encode("the cat")
    assert inputs.tokens.tolist() == [[words[0], *PATCHES * [IMAGE_ID], *words[1:]]]
    assert inputs.words == (False, *(PATCHES + len(words) - 1) * [True])
    assert inputs.pixels is not None
    assert inputs.pixels.shape == (1, 3, SIDE, SIDE)
    assert model.image_id == IMAGE_ID


def test_sites_are_read_and_edited_at_patches(model: Model) -> None:
    inputs = model.prompt("the cat sat", image=picture())
    run = model.run(inputs, read=model.sites(), logits="all")
    expected = model.module(
        input_ids=inputs.tokens, pixel_values=inputs.pixels, output_hidden_states=True
    )
    assert torch.allclose(run.logits, expected.logits, atol=1e-5)
    assert torch.allclose(run["embed"], expected.hidden_states[0], atol=1e-6)
    assert torch.allclose(run["resid_post.0"], expected.hidden_states[1], atol=1e-5)
    assert torch.allclose(run["embed"][0, 1:5], expected.image_hidden_states, atol=1e-6)
    other = model.run(model.prompt("the cat sat", image=picture(1)), logits="all")
    assert not torch.allclose(run.logits[0, -1], other.logits[0, -1], atol=1e-3)

    def blank(x: torch.Tensor) -> torch.Tensor:
        x[inputs.tokens == IMAGE_ID] = 0
        return x

    blind = model.run(inputs, edits={"embed": blank}, logits="all").logits
    also = model.run(
        model.prompt("the cat sat", image=picture(1)), edits={"embed": blank}, logits="all"
    )
    assert torch.equal(blind, also.logits)


def test_continuing_with_and_without_a_cache_is_the_same(model: Model) -> None:
    inputs = model.prompt("the cat", image=picture())
    edited = model.generate(inputs, 6, edits={"resid_post.0": lambda x: x})
    assert torch.equal(model.generate(inputs, 6), edited)


def test_a_batch_of_pictures(model: Model) -> None:
    pictures = np.stack([picture(i) for i in range(3)])
    one = model.prompt("the cat", image=pictures[1])
    many = Inputs(one.tokens.expand(3, -1), model.pixels(pictures))
    together = model.run(many, logits="last").logits
    assert torch.allclose(together[1], model.run(one, logits="last").logits[0], atol=1e-5)


def test_a_folder_opens_with_its_settings(tmp_path: Path) -> None:
    module = with_eyes()
    module.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    model = Model.open(tmp_path, device="cpu")
    with pytest.raises(ModelError, match="preprocessor_config.json"):
        model.prompt("the cat", image=picture())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    model = Model.open(tmp_path, device="cpu")
    inputs = model.prompt("the cat", image=picture())
    expected = Model.wrap(module).run(inputs, logits="all").logits
    assert torch.equal(model.run(inputs, logits="all").logits, expected)
    without = {key: value for key, value in PREPROCESSING.items() if key != "image_mean"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(without))
    with pytest.raises(ModelError, match="image processor cannot be used .*image_mean"):
        Model.open(tmp_path, device="cpu").prompt("the cat", image=picture())
    for content in ("{", "[1]"):
        (tmp_path / "preprocessor_config.json").write_text(content)
        with pytest.raises(ModelError, match=r"preprocessor_config\.json (cannot be|holds no)"):
            Model.open(tmp_path, device="cpu")


def test_pixels_are_scaled_normalised_and_cropped(model: Model) -> None:
    shown = picture()
    values = model.pixels(shown)
    mean, std = (torch.tensor(PREPROCESSING[key]) for key in ("image_mean", "image_std"))
    expected = (torch.from_numpy(shown) / 255 - mean) / std
    assert torch.allclose(values[0], expected.permute(2, 0, 1), atol=1e-5)
    assert model.pixels(picture(0, 40, 64)).shape == (1, 3, SIDE, SIDE)
    flat = np.full((50, 33, 3), 100, np.uint8)
    assert torch.allclose(
        model.pixels(flat), (100 / 255 - mean[:, None, None]) / std[:, None, None]
    )


def test_what_does_not_fit_is_said_in_one_line(model: Model) -> None:
    tokens = model.prompt("the cat", image=picture()).tokens
    cases: list[tuple[str, Any]] = [
        ("4 image tokens for 0 pictures", lambda: model.run(tokens, logits="last")),
        ("uint8", lambda: model.prompt("the cat", image=picture() / 255)),
        ("uint8", lambda: model.prompt("the cat", image="picture.png")),
        ("uint8", lambda: model.prompt("the cat", image=3)),
        ("uint8", lambda: model.pixels([[[1, 2, 3]], [[1, 2]]])),
        ("uint8", lambda: model.pixels(torch.zeros(2, 2, 3, dtype=torch.bfloat16))),
        (
            "reads no pictures",
            lambda: Model.wrap(tiny("llama"), tiny_tokenizer(97)).pixels(picture()),
        ),
    ]
    for message, failing in cases:
        with pytest.raises(InputError, match=message) as error:
            failing()
        assert "\n" not in str(error.value)
    padded = Model.wrap(with_eyes(), tiny_tokenizer(), preprocessing={"do_pad": True})
    with pytest.raises(InputError, match="padded"):
        padded.prompt("the cat", image=picture())
