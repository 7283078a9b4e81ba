"""What a dictionary is, apart from its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from inscape.core import Config, InputError


class DictionaryConfig(Config):
    """The shape of a dictionary and the sites that it reads and writes.

    An autoencoder reads and writes one site and subtracts its decoder bias before encoding; a
    transcoder reads `site_in`, predicts `site_out` and subtracts nothing.

    Raises:
        InputError: k is larger than d_dict.
    """

    kind: Literal["topk"] = "topk"
    site_in: str
    site_out: str
    d_in: int = Field(gt=0)
    d_out: int = Field(gt=0)
    d_dict: int = Field(gt=0)
    k: int = Field(gt=0)
    subtract_b_dec: bool

    @model_validator(mode="after")
    def _check(self) -> DictionaryConfig:
        if self.k > self.d_dict:
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
