"""What a dictionary is, apart from its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from inscape.core import Config, InputError, instance_of
from inscape.dictionary.wiring import CrossLayer, SideBySide, Wiring

BETWEEN = "+"
"""Separates the names of several sites."""


def joined(sites: Iterable[str]) -> str:
    """The name of several sites together: resid_post.1+resid_post.3."""
    return BETWEEN.join(sites)


def single_sites(name: str) -> tuple[str, ...]:
    """The sites of such a name; of a plain one itself."""
    instance_of(str, name, "site", "a name such as resid_post.3")
    return tuple(name.split(BETWEEN))


def check_name(name: str) -> str:
    """The name of a dictionary, which also names a folder and stands before a feature's index.

    Raises:
        InputError: it has other characters than letters, digits and _.-, or begins with a dot.
    """
    expected = "letters, digits, _, . and -, such as resid_post.5"
    instance_of(str, name, "a dictionary's name", expected)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}", name):
        raise InputError(f"the name {name[:60]!r} of a dictionary", expected=expected)
    return name


class DictionaryConfig(Config):
    """The shape of a dictionary and the sites that it reads and writes.

    An autoencoder reads and writes one site and subtracts its decoder bias before encoding; a
    transcoder reads `site_in`, predicts `site_out` and subtracts nothing.

    Either may be several sites, with activations side by side. If the same several are read and
    written, it is a crosscoder: one code for all. If equally many others are written, it is a
    cross-layer transcoder: for L sites each, d_dict / L features read each site, and write that of
    the same layer and of all later ones.

    Attributes:
        kind: when a feature is active: "topk", if positive and among the k largest pre-activations
            of its row; "threshold", if positive and above the feature's threshold (every variant
            of training ends as one of the two); "neurons": feature i is the positive part of neuron
            i of d_in, feature d_in + i the negative.
        k: for "topk" the maximum number of active features of a row; for "threshold" the mean that
            training aimed at, if known.
        signed: negative pre-activations may be active: among the k largest, or above a negative
            threshold.
        scope: from which entries "topk" selects k: those of a token; of a token and "layer" (the
            features of a site); k per token from a whole "batch"; or "layer_batch", both.
        weighted: "topk" selects by the pre-activation times a weight of the feature (`choice`).
        glu: the pre-activation is multiplied by sigmoid(x @ W_glu^T + b_glu).
        skip: the reconstruction has a linear part x @ W_skip^T, for several sites within each.
        normalize: of each token before encoding: "layer_norm", (x - mean) / (std + 1e-5);
            "constant_norm", to the norm sqrt(d_in). An autoencoder undoes it in its reconstruction,
            and its values are in units of the raw activations.
        widths: of each site, if there are several.

    Raises:
        InputError: k is missing or larger than d_dict, or widths do not fit each other.
    """

    kind: Literal["topk", "threshold", "neurons"] = "topk"
    site_in: str
    site_out: str
    d_in: int = Field(gt=0)
    d_out: int = Field(gt=0)
    d_dict: int = Field(gt=0)
    k: int | None = Field(default=None, gt=0)
    signed: bool = False
    scope: Literal["token", "layer", "batch", "layer_batch"] = "token"
    weighted: bool = False
    glu: bool = False
    subtract_b_dec: bool
    skip: bool = False
    normalize: Literal["none", "layer_norm", "constant_norm"] = "none"
    widths: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> DictionaryConfig:
        if self.k is None and self.kind == "topk":
            raise InputError("a TopK dictionary has no k", expected=f"k up to {self.d_dict}")
        if self.kind == "topk" and (self.k or 0) > self.d_dict:
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
        if self.kind == "neurons" and self.d_dict != 2 * self.d_in:
            raise InputError(
                f"{self.d_dict} features of {self.d_in} neurons",
                expected=f"{2 * self.d_in}: a positive and a negative side of each",
            )
        if self.kind != "topk" and (self.scope != "token" or self.weighted):
            raise InputError(
                f"scope {self.scope!r} or weights of a choice by threshold", expected="kind topk"
            )
        if self.signed and (self.kind == "topk" and self.scope != "token"):
            raise InputError(f"a signed choice of the scope {self.scope!r}", expected="token")
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
        if self.glu or self.normalize != "none" or (self.skip and len(set(self.widths)) > 1):
            raise InputError(
                f"a dictionary of {num} sites with a GLU, a skip between sites of the widths "
                f"{self.widths}, or one that normalises tokens",
                expected="none of these, or one site",
            )
        if self.cross_layer and (len(set(self.widths)) > 1 or self.d_dict % num):
            raise InputError(
                f"{self.d_dict} features for {num} layers of the widths {self.widths}",
                expected=f"a multiple of {num}, and equal widths",
            )

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later fields at their defaults, so that what was made from it stays valid."""
        found: dict[str, Any] = handler(self)
        for name in ("widths", "signed", "scope", "weighted", "glu"):
            if found[name] == type(self).model_fields[name].default:
                del found[name]
        return found

    @property
    def version(self) -> int:
        """The oldest version of the format on disk that can hold it. 1: TopK alone. 2: thresholds,
        a linear skip, normalised tokens. 3: several sites. 4: signed, scope, weighted, glu, and a
        skip of several sites. 5: neurons."""
        if self.kind == "neurons":
            return 5
        if {"signed", "scope", "weighted", "glu"} & self.model_dump().keys():
            return 4
        return (4 if self.skip else 3) if self.several else 2

    @property
    def groups(self) -> int:
        """Into how many equal groups of features "topk" chooses k of each."""
        return len(self.sites_in) if self.scope.startswith("layer") else 1

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
    def site_name(self) -> str:
        """What the dictionary is called by where it lies: resid_post.14; of a transcoder of an MLP
        mlp.5; of several sites clt or crosscoder, with the first and last layer."""
        if self.several:
            layers = [site.rpartition(".")[2] for site in (self.sites_in[0], self.sites_in[-1])]
            return f"{'clt' if self.cross_layer else 'crosscoder'}.{'-'.join(layers)}"
        kind, _, layer = self.site_in.partition(".")
        if self.transcoder and (kind, self.site_out) == ("mlp_in", f"mlp_out.{layer}"):
            return f"mlp.{layer}"
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", self.site_in)
        named = self.transcoder and self.kind != "neurons"
        return f"{plain}-{self.site_out}" if named else plain

    @property
    def several(self) -> bool:
        """Whether it is a crosscoder or a cross-layer transcoder."""
        return len(self.sites_in) > 1 or len(self.sites_out) > 1

    @property
    def cross_layer(self) -> bool:
        """Whether it is a cross-layer transcoder."""
        return self.several and self.transcoder

    @property
    def causal(self) -> bool:
        """Whether what it writes at a site depends on no site that comes later in the model. A
        crosscoder's code rests on all its sites, so does a choice over several layers."""
        by_layer = self.kind == "threshold" or self.scope == "layer"
        return not self.several or (self.cross_layer and by_layer)

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
        if self.kind == "neurons":  # nothing is encoded
            del found["W_enc"], found["b_enc"]
        if self.skip and self.several:
            found["W_skip"] = (len(self.widths), self.widths[0], self.widths[0])
        elif self.skip:
            found["W_skip"] = (self.d_out, self.d_in)
        if self.weighted:
            found["choice"] = (self.d_dict,)
        if self.glu:
            found |= {"W_glu": (self.d_dict, self.d_in), "b_glu": (self.d_dict,)}
        return found
