"""Sites: the named places of a model where activations are read or edited.

embed         what enters the first block (token and position embeddings, after scaling)
resid_pre.L   the residual stream before block L         (resid_pre.0 equals embed)
attn_head.L   what the heads of block L give, side by side (before the output projection)
attn_out.L    what the attention of block L adds to it   (after its post-norm, if any)
resid_mid.L   the residual stream after that addition    (not where attention is parallel)
mlp_in.L      what the MLP of block L reads              (after its norm, if any)
mlp_act.L     the neurons of that MLP: what its down projection reads
mlp_out.L     what the MLP of block L adds               (after its post-norm, if any)
resid_post.L  the residual stream after block L
final         the output of the last norm, which the head reads
"""

from __future__ import annotations

from dataclasses import dataclass

from inscape.core import SiteError

WHOLE_MODEL_KINDS = ("embed", "final")
LAYER_KINDS = (
    *("resid_pre", "attn_head", "attn_out", "resid_mid"),
    *("mlp_in", "mlp_act", "mlp_out", "resid_post"),
)
KINDS = ("embed", *LAYER_KINDS, "final")

_EXPECTED = "embed, final, or one of " + ", ".join(f"{kind}.L" for kind in LAYER_KINDS)


@dataclass(frozen=True)
class Site:
    """One place in a model: a kind, and the layer where the kind has one.

    `str(site)` is its written form ("resid_post.3", "embed"); `Site.parse` reads it back.
    """

    kind: str
    layer: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SiteError(f"site kind {self.kind!r} is unknown", expected=_EXPECTED)
        if (self.layer is None) != (self.kind in WHOLE_MODEL_KINDS):
            fault = "has no layer" if self.layer is not None else "needs a layer"
            raise SiteError(f"site {self.kind!r} {fault}", expected=_EXPECTED)

    def __str__(self) -> str:
        return self.kind if self.layer is None else f"{self.kind}.{self.layer}"

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """The site written as `text`; a Site is returned as it is.

        Raises:
            SiteError: the kind is unknown, or the layer is missing or no number.
        """
        if isinstance(text, Site):
            return text
        if not isinstance(text, str):
            raise SiteError(f"a site cannot be {text!r}", expected=_EXPECTED)
        if "+" in text:
            raise SiteError(
                f"{text} are several sites, of a crosscoder or a cross-layer transcoder",
                expected="one of them",
            )
        kind, dot, layer = text.strip().partition(".")
        if kind not in KINDS:
            raise SiteError(f"site {text[:40]!r} is unknown", expected=_EXPECTED)
        if not dot:
            return cls(kind)
        if not (layer.isascii() and layer.isdigit() and len(layer) <= 4):
            raise SiteError(f"site {text[:40]!r} has no valid layer", expected=_EXPECTED)
        return cls(kind, int(layer))
