"""Pictures for image-text models: prepared as the model's processor says, without Pillow.

1. Resize (bicubic or bilinear, antialiased) and crop to the size that the tower takes.
2. Rescale to [0, 1] and normalise each colour.
3. In the token ids each picture has a run of image tokens, which the model replaces by its patches.

The settings are those of preprocessor_config.json (or of processor_config.json), whose own
classes need Pillow or torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from inscape.core import InputError, ModelError

_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # as Pillow numbers them


def read_preprocessing(folder: Path) -> dict[str, Any] | None:
    """The settings of the image processor in a model's folder; None if it has none."""
    whole, alone = folder / "processor_config.json", folder / "preprocessor_config.json"
    found = read_object(whole).get("image_processor") if whole.is_file() else None
    if not found and alone.is_file():
        found = read_object(alone)
    return dict(found) if found else None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of a model's folder; ModelError where it is no object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no object", expected="settings by name")
    return found


class ImageCodec:
    """Turns pictures into pixel values and image tokens.

    Args:
        config: of the image-text model; names the image token and how many a picture has.
        preprocessing: the image processor's settings, or None where there are none.
    """

    def __init__(self, config: Any, preprocessing: Mapping[str, Any] | None) -> None:
        self.image_id = int(config.image_token_id)
        self.tokens_per_image = int(config.image_seq_length)
        self._settings = preprocessing

    def pixels(self, images: Any) -> Float[Tensor, "picture 3 height width"]:
        """Pixel values of one RGB picture [height, width, 3] or several [n, height, width, 3].

        Raises:
            InputError: they are not uint8 RGB, or need a step that is not supported.
            ModelError: the model came without the settings of its image processor.
        """
        settings = self._settings
        if settings is None:
            raise ModelError(
                "this model came without the settings of its image processor",
                expected="preprocessor_config.json in its folder",
                next_step="add it, or pass pixel values in inscape.model.Inputs",
            )
        if settings.get("do_pad"):
            raise InputError(
                "this model's pictures are padded to squares, which is not supported",
                next_step="pass pixel values in inscape.model.Inputs",
            )
        made = _as_batch(images)
        try:
            return _prepared(made, settings)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(
                "the settings of this model's image processor cannot be used "
                f"({type(error).__name__}: {error})",
                next_step="correct its preprocessor_config.json",
            ) from error

    def place(self, ids: Sequence[int], first: int) -> list[int]:
        """`ids` with one picture: where its image token is, else at index `first`.

        Raises:
            InputError: the text has image tokens for several pictures.
        """
        ids = list(ids)
        count = ids.count(self.image_id)
        if count > 1:
            raise InputError(f"the text has places for {count} pictures", expected="one")
        at = ids.index(self.image_id) if count else first
        return [*ids[:at], *self.tokens_per_image * [self.image_id], *ids[at + count :]]

    def check(self, tokens: Tensor, pixel_values: Tensor | None) -> None:
        """InputError unless every run of image tokens has its picture."""
        found = int((tokens == self.image_id).sum())
        pictures = 0 if pixel_values is None else len(pixel_values)
        if found != pictures * self.tokens_per_image:
            raise InputError(
                f"{found} image tokens for {pictures} pictures",
                expected=f"{self.tokens_per_image} for each picture",
                next_step="make the tokens with model.prompt(text, image=...)",
            )


def _prepared(made: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Steps 1 and 2."""
    if settings.get("do_resize", True):
        made = _resized(made, settings)
    if settings.get("do_center_crop", False):
        made = _cropped(made, *_height_width(settings["crop_size"]))
    values = made.float()
    if settings.get("do_rescale", True):
        values = values * float(settings.get("rescale_factor", 1 / 255))
    if settings.get("do_normalize", True):
        mean = torch.tensor(settings["image_mean"])[:, None, None]
        std = torch.tensor(settings["image_std"])[:, None, None]
        values = (values - mean) / std
    return values


def _as_batch(images: Any) -> Tensor:
    try:
        array = images.cpu().numpy() if isinstance(images, Tensor) else np.array(images)
    except (ValueError, TypeError):  # ragged lists, half precision
        array = np.array(None)
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise InputError(
            f"a picture of shape {array.shape} and type {array.dtype}",
            expected="RGB of type uint8 and shape [height, width, 3], or several of one shape",
        )
    pictures = torch.from_numpy(array[None] if array.ndim == 3 else array)
    return pictures.permute(0, 3, 1, 2).contiguous()


def _resized(images: Tensor, settings: Mapping[str, Any]) -> Tensor:
    size, (high, wide) = settings.get("size", 224), images.shape[-2:]
    if isinstance(size, int):
        size = {"shortest_edge": size}
    if "shortest_edge" in size:
        short = int(size["shortest_edge"])
        height, width = (int(short * side / min(high, wide)) for side in (high, wide))
    else:
        height, width = _height_width(size)
    if (height, width) == (high, wide):
        return images
    mode = _RESAMPLING.get(settings.get("resample", 3))
    if mode is None:
        raise InputError(
            f"the resampling {settings['resample']} is not supported",
            expected="2 (bilinear) or 3 (bicubic)",
            next_step="pass pictures of the size that the model takes",
        )
    return functional.interpolate(images, (height, width), mode=mode, antialias=True)


def _cropped(images: Tensor, height: int, width: int) -> Tensor:
    """The middle [height, width]; what a smaller picture lacks is black."""
    high, wide = images.shape[-2:]
    down, right = max(height - high, 0), max(width - wide, 0)
    if down or right:
        around = (right // 2, right - right // 2, down // 2, down - down // 2)
        images = functional.pad(images, around)
        high, wide = images.shape[-2:]
    top, left = (high - height) // 2, (wide - width) // 2
    return images[..., top : top + height, left : left + width]


def _height_width(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))
