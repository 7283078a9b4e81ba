"""A microworld language model with a vision tower before it, in the layout of LLaVA.

1. The tokenizer gets the token <image>; its embedding is a copy of that of the byte 0xFF, which no
   text contains, so that it is as improbable an answer as any token that training never showed.
2. The language model's weights go in as they are.
3. The folder has the standard files of a LLaVA model, its image processor's settings among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inscape.storage import write_json
from inscape_microworld.pictures.drawing import PATCH, SIZE

IMAGE = "<image>"
_NEVER = "\u00ff"  # the byte-level alphabet's stand-in for 0xFF
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
PREPROCESSING: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"height": SIZE, "width": SIZE},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
}
_PROCESSOR = {
    "processor_class": "LlavaProcessor",
    "patch_size": PATCH,
    "image_token": IMAGE,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}


def with_eyes(base: Path, *, num_layers: int, d_vision: int, seed: int) -> tuple[Any, Any]:
    """A LLaVA module with the language model of the folder `base`, and its tokenizer.

    The language model takes no gradient; tower and projector have random weights from `seed`.
    """
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    tokenizer: Any = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
    language: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    if IMAGE not in tokenizer.get_vocab():
        never = tokenizer.convert_tokens_to_ids(_NEVER)
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
        language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            table = language.get_input_embeddings().weight
            table[tokenizer.convert_tokens_to_ids(IMAGE)] = table[never]
    vision = CLIPVisionConfig(
        hidden_size=d_vision,
        intermediate_size=3 * d_vision,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=d_vision,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(SIZE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=language.config.tie_word_embeddings,
    )
    torch.manual_seed(seed)
    module: Any = LlavaForConditionalGeneration(config)
    module.model.language_model.load_state_dict(language.model.state_dict())
    module.lm_head.load_state_dict(language.lm_head.state_dict())
    # As large as the patches' embeddings: what is where decides what a picture shows.
    torch.nn.init.normal_(module.model.vision_tower.embeddings.position_embedding.weight, std=0.3)
    for part in (module.model.language_model, module.lm_head):
        part.requires_grad_(False)
    return module, tokenizer


def write_model(folder: Path, module: Any, tokenizer: Any) -> None:
    """The standard files of a LLaVA model into an existing folder."""
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", PREPROCESSING)
    write_json(folder / "processor_config.json", _PROCESSOR)
