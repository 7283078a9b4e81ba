"""What a dictionary is, apart from its weights."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from inscape.core import Config, InputError
from inscape.dictionary.wiring import CrossLayer, SideBySide, Wiring

BETWEEN = "+"
"""What stands between the names of several sites."""


def joined(sites: Iterable[str]) -> str:
    """Several sites as the one name that a dictionary knows them by: resid_post.1+resid_post.3."""
    return BETWEEN.join(sites)


def single_sites(name: str) -> tuple[str, ...]:
    """The sites of such a name; of a plain one itself."""
    return tuple(name.split(BETWEEN))


class DictionaryConfig(Config):
    """The shape of a dictionary and the sites that it reads and writes.

    An autoencoder reads and writes one site and subtracts its decoder bias before encoding; a
    transcoder reads `site_in`, predicts `site_out` and subtracts nothing.

    Either may be several sites, whose activations lie side by side. Where the same several are read
    and written it is a crosscoder: one code of all of them. Where as many others are written it is
    a cross-layer transcoder: of L sites each, a layer's share of the features, d_dict / L, reads
    its own site and writes those of this layer and of all that follow.

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
        widths: of several sites each; empty for one.

    Raises:
        InputError: k is missing or larger than d_dict, b_dec does not fit what it is subtracted
            from, or several sites do not fit each other.
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
    widths: tuple[int, ...] = ()

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
        if self.widths or self.several:
            self._check_several()
        return self

    def _check_several(self) -> None:
        for name in (self.site_in, self.site_out):
            sites = single_sites(name)
            if len(set(sites)) < len(sites) or "" in sites:
                raise InputError(f"{name} names a site twice, or none", expected="each once")
        num = len(self.sites_in)
        if len(self.sites_out) != num or num < 2:
            raise InputError(
                f"{num} sites are read and {len(self.sites_out)} written",
                expected="one and one, the same several (a crosscoder), or as many others "
                "(a cross-layer transcoder)",
            )
        if len(self.widths) != num or sum(self.widths) != self.d_in or self.d_in != self.d_out:
            raise InputError(
                f"widths {self.widths} of {num} sites, {self.d_in} read and {self.d_out} written",
                expected="a width for each site, alike where it is read and written",
            )
        if self.skip or self.normalize != "none":
            raise InputError(
                f"a dictionary of {num} sites with a skip, or one that normalises tokens",
                expected="neither: those are for one site",
            )
        if self.cross_layer and (len(set(self.widths)) > 1 or self.d_dict % num):
            raise InputError(
                f"{self.d_dict} features for {num} layers of the widths {self.widths}",
                expected=f"a multiple of {num}, and equal widths",
            )

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Of one site, what it was before there were several: what is made from it stays valid."""
        found: dict[str, Any] = handler(self)
        if not self.widths:
            del found["widths"]
        return found

    @property
    def transcoder(self) -> bool:
        """Whether it predicts another site than the one it reads."""
        return self.site_in != self.site_out

    @property
    def sites_in(self) -> tuple[str, ...]:
        """The sites that are read, one or several."""
        return single_sites(self.site_in)

    @property
    def sites_out(self) -> tuple[str, ...]:
        """The sites that are written, one or several."""
        return single_sites(self.site_out)

    @property
    def several(self) -> bool:
        """Whether it is a crosscoder or a cross-layer transcoder."""
        return len(self.sites_in) > 1 or len(self.sites_out) > 1

    @property
    def cross_layer(self) -> bool:
        """Whether it is a cross-layer transcoder."""
        return self.several and self.transcoder

    @cached_property
    def wiring(self) -> Wiring:
        """Which columns of its input and output a feature is tied to."""
        if self.cross_layer:
            num = len(self.widths)
            return CrossLayer(num, self.d_dict // num)
        return SideBySide(self.widths) if self.several else Wiring()

    @property
    def columns(self) -> tuple[slice, ...]:
        """Where each site lies side by side with the others."""
        ends = [sum(self.widths[: n + 1]) for n in range(len(self.widths))] or [self.d_out]
        return tuple(slice(first, end) for first, end in zip([0, *ends], ends, strict=False))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight tensor.

        A cross-layer transcoder's W_enc has a row a feature, as wide as one site. Its W_dec has a
        row for each feature and each layer that it writes, as wide as one site: layer after layer,
        feature after feature, and of one feature from its own layer on.
        """
        found: dict[str, tuple[int, ...]] = {
            "W_enc": (self.d_dict, self.d_in),
            "b_enc": (self.d_dict,),
            "W_dec": (self.d_dict, self.d_out),
            "b_dec": (self.d_out,),
        }
        if isinstance(self.wiring, CrossLayer):
            width = self.widths[0]
            found |= {"W_enc": (self.d_dict, width), "W_dec": (self.wiring.num_rows, width)}
        if self.kind == "threshold":
            found["threshold"] = (self.d_dict,)
        if self.skip:
            found["W_skip"] = (self.d_out, self.d_in)
        return found
