"""Units of a circuit: attention heads, MLPs as their neurons, features of the residual stream.

Each belongs to a site, and is a part of what is there: the channels of a head, all neurons, or the
activation of one feature times its decoder row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inscape.attribution import reads_stream
from inscape.core import InputError
from inscape.dictionary import Dictionary
from inscape.model import Model


@dataclass(frozen=True, order=True)
class Unit:
    """A part of a site in one role.

    site: attn_head.L, mlp_act.L or the place of a dictionary. index: of the head or the feature; 0
    for the neurons of an MLP. dictionary: its name.
    """

    site: str
    index: int
    role: str
    dictionary: str = ""

    @property
    def kind(self) -> str:
        """head, mlp or feature."""
        if self.dictionary:
            return "feature"
        return "head" if self.site.startswith("attn_head") else "mlp"

    @property
    def layer(self) -> int:
        """The layer of its site."""
        return int(self.site.partition(".")[2])


class Units:
    """What a model and some dictionaries have of units.

    Args:
        kinds: "heads", "mlps" and "features": which of them there are.
        dictionaries: of the residual stream, one for each place.

    Raises:
        InputError: another kind, a dictionary of another place, or features without a dictionary.
    """

    KINDS = ("heads", "mlps", "features")

    def __init__(
        self, model: Model, kinds: Sequence[str], dictionaries: Iterable[Dictionary] = ()
    ) -> None:
        unknown = [kind for kind in kinds if kind not in self.KINDS]
        if unknown or not kinds:
            raise InputError(f"units {', '.join(kinds)!r}", expected=" or ".join(self.KINDS))
        self.model, self.kinds = model, tuple(kinds)
        self.dictionaries: dict[str, Dictionary] = {}
        for one in dictionaries if "features" in kinds else ():
            if reads_stream(one):
                self.dictionaries.setdefault(str(model.site(one.reads[0])), one.to(model.device))
        if "features" in kinds and not self.dictionaries:
            raise InputError(
                "features are asked for, but no dictionary of the residual stream is given",
                expected="a dictionary of resid_post.L, or units heads and mlps",
            )
        layers = range(model.num_layers)
        self.heads = {n: model.num_heads(n) for n in layers if "heads" in kinds}
        self.mlps = [str(s) for s in model.sites() if s.kind == "mlp_act" and "mlps" in kinds]

    @property
    def sites(self) -> list[str]:
        """Every site that has units."""
        heads = [f"attn_head.{layer}" for layer, count in self.heads.items() if count]
        return [*heads, *self.mlps, *self.dictionaries]

    def parts(
        self,
        site: str,
        own: Float[Tensor, "row pos width"],
        other: Float[Tensor, "row pos width"],
        gradient: Float[Tensor, "row pos width"],
    ) -> Float[Tensor, "row pos unit"]:
        """What exchanging each unit of a site does to a target, to first order: its change times
        the gradient there."""
        if site in self.dictionaries:
            one = self.dictionaries[site]
            every = torch.arange(one.config.d_dict, device=own.device)
            change = self.activations(one, other, every) - self.activations(one, own, every)
            return change * (gradient.float() @ one.decoder_at(site, every).float().T)
        product = (other - own) * gradient
        if site.startswith("mlp_act"):
            return product.sum(-1, keepdim=True)
        count = self.heads[int(site.partition(".")[2])]
        return product.reshape(*product.shape[:-1], count, -1).sum(-1)

    def unit(self, site: str, index: int, role: str) -> Unit:
        """A unit of a site."""
        one = self.dictionaries.get(site)
        return Unit(site, index, role, "" if one is None else one.name)

    def set(
        self,
        x: Float[Tensor, "row pos width"],
        value: Float[Tensor, "row pos width"],
        units: Sequence[Unit],
        roles: Mapping[str, Bool[Tensor, "row pos"]],
    ) -> Tensor:
        """`x` with units, at the tokens of their roles, as they are in `value`."""
        if not units:
            return x
        if units[0].dictionary:
            return self._set_features(x, value, units, roles)
        width = x.shape[-1] // (self.heads[units[0].layer] if units[0].kind == "head" else 1)
        mask = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
        for unit in units:
            if unit.role in roles:
                first = unit.index * width if unit.kind == "head" else 0
                mask[..., first : first + width] |= roles[unit.role][..., None]
        return torch.where(mask, value.to(x.dtype), x)

    def _set_features(
        self,
        x: Tensor,
        value: Tensor,
        units: Sequence[Unit],
        roles: Mapping[str, Bool[Tensor, "row pos"]],
    ) -> Tensor:
        one = self.dictionaries[units[0].site]
        chosen = torch.tensor(sorted({unit.index for unit in units}), device=x.device)
        change = self.activations(one, value, chosen) - self.activations(one, x, chosen)
        mask = torch.zeros_like(change, dtype=torch.bool)
        for unit in units:
            if unit.role in roles:
                mask[..., int((chosen == unit.index).nonzero())] |= roles[unit.role]
        rows = one.decoder_at(units[0].site, chosen).float()
        return x + ((change * mask) @ rows).to(x.dtype)

    @staticmethod
    def activations(
        dictionary: Dictionary, x: Float[Tensor, "row pos width"], features: Tensor
    ) -> Float[Tensor, "row pos feature"]:
        """Activations of some features."""
        flat = x.reshape(-1, x.shape[-1]).float()
        code = dictionary.encode(flat)
        found = torch.zeros(len(flat), dictionary.config.d_dict, device=x.device)
        values = torch.where(
            code.active, code.values.float(), torch.zeros_like(code.values.float())
        )
        found.scatter_add_(1, code.indices.long(), values)
        return found[:, features].reshape(*x.shape[:-1], len(features))
