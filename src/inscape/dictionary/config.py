"""What a dictionary is, apart from its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from inscape.core import Config, InputError


class DictionaryConfig(Config):
    """The shape of a dictionary and the sites that it reads and writes.

    An autoencoder reads and writes one site and subtracts its decoder bias before encoding; a
    transcoder reads `site_in`, predicts `site_out` and subtracts nothing.

    Attributes:
        kind: what makes a feature active: "topk", being among the k largest pre-activations of its
            row and positive; "threshold", a positive pre-activation above the feature's threshold.
            Every variant that training knows ends in one of the two.
        k: of "topk" the most active features of a row; of "threshold" the mean number that training
            aimed at, None where it is not known.
        skip: whether the reconstruction has a linear part, x @ W_skip^T.
        normalize: what is done to each token before it is encoded: "layer_norm", (x - mean) /
            (std + 1e-5); "constant_norm", to the norm sqrt(d_in). An autoencoder undoes it in its
            reconstruction, and its values are in units of the activations as they are.

    Raises:
        InputError: k is missing or larger than d_dict, or b_dec does not fit what it is subtracted
            from.
    """

    kind: Literal["topk", "threshold"] = "topk"
    site_in: str
    site_out: str
    d_in: int = Field(gt=0)
    d_out: int = Field(gt=0)
    d_dict: int = Field(gt=0)
    k: int | None = Field(default=None, gt=0)
    subtract_b_dec: bool
    skip: bool = False
    normalize: Literal["none", "layer_norm", "constant_norm"] = "none"

    @model_validator(mode="after")
    def _check(self) -> DictionaryConfig:
        if self.k is None and self.kind == "topk":
            raise InputError("a TopK dictionary has no k", expected=f"k up to {self.d_dict}")
        if self.k is not None and self.k > self.d_dict:
            raise InputError(
                f"k = {self.k} is larger than the dictionary of {self.d_dict} features",
                expected=f"k up to {self.d_dict}",
                next_step="lower k or raise d_dict",
            )
        if self.subtract_b_dec and self.d_in != self.d_out:
            raise InputError(
                f"b_dec of width {self.d_out} cannot be subtracted from width {self.d_in}",
                expected="equal widths, or subtract_b_dec = False",
            )
        return self

    @property
    def transcoder(self) -> bool:
        """Whether it predicts another site than the one it reads."""
        return self.site_in != self.site_out

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor."""
        found: dict[str, tuple[int, ...]] = {
            "W_enc": (self.d_dict, self.d_in),
            "b_enc": (self.d_dict,),
            "W_dec": (self.d_dict, self.d_out),
            "b_dec": (self.d_out,),
        }
        if self.kind == "threshold":
            found["threshold"] = (self.d_dict,)
        if self.skip:
            found["W_skip"] = (self.d_out, self.d_in)
        return found
