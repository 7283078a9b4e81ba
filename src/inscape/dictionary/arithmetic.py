"""What a dictionary computes: codes and reconstructions, at one site or at several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import InputError, instance_of, short
from inscape.dictionary import kernels
from inscape.dictionary.code import Code, RaggedCode
from inscape.dictionary.config import DictionaryConfig
from inscape.dictionary.encoder import encode_above, encode_top, half_is_faster, in_order
from inscape.dictionary.wiring import CrossLayer

LAYER_NORM_EPSILON = 1e-5
ROWS = 1024  # encoded together: a code is as wide as its fullest row, and a sink's has thousands

Scale = float | tuple[float, ...]


class Arithmetic:
    """Weights and what is computed with them; see `Dictionary`."""

    def __init__(
        self, config: DictionaryConfig, weights: Mapping[str, Tensor], name: str, scale: Scale
    ) -> None:
        self.config, self.name, self.output_scale = config, name, scale
        instance_of(DictionaryConfig, config, "the config of a dictionary", "a DictionaryConfig")
        instance_of(Mapping, weights, "weights", "tensors by parameter name")
        kept = {}
        for key, shape in config.shapes().items():
            if key not in weights:
                raise InputError(
                    f"{name} has no {key}", expected=f"{key} of shape {shape} ({config.kind})"
                )
            instance_of(Tensor, weights[key], f"{key} of {name}:", "a tensor")
            found = tuple(weights[key].shape)
            if found != shape:
                raise InputError(f"{key} of {name} has shape {found}", expected=str(shape))
            kept[key] = weights[key].detach().to(torch.float32).contiguous()
        self.W_dec, self.b_dec = kept["W_dec"], kept["b_dec"]
        self.W_enc = kept.get("W_enc", self.W_dec.new_empty(0, config.d_in))
        self.b_enc = kept.get("b_enc", self.W_dec.new_empty(0))
        self.threshold, self.W_skip = kept.get("threshold"), kept.get("W_skip")
        self.choice, self.W_glu, self.b_glu = (
            kept.get(key) for key in ("choice", "W_glu", "b_glu")
        )

    @property
    def d_dict(self) -> int:
        """Number of features."""
        return self.config.d_dict

    @property
    def k(self) -> int | None:
        """Active features of a row: the maximum (TopK), or the mean that training aimed at."""
        return self.config.k

    @property
    def reads(self) -> tuple[str, ...]:
        """The sites that it reads."""
        return self.config.sites_in

    @property
    def writes(self) -> tuple[str, ...]:
        """The sites at which edits change a model: those it writes; for neurons their own site,
        which is exact whatever follows."""
        return self.reads if self.config.kind == "neurons" else self.config.sites_out

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.W_dec.device

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weight tensors by name."""
        return {key: getattr(self, key) for key in self.config.shapes()}

    def encoder_input(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """The input of the encoder matrix: x in fp32, normalised and minus b_dec if the
        configuration says so."""
        self._check(x, self.config.d_in, self.config.site_in)
        x = x.to(device=self.device, dtype=torch.float32)
        if self.config.normalize == "layer_norm":
            x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + LAYER_NORM_EPSILON)
        elif self.config.normalize == "constant_norm":
            x = x * self.config.d_in**0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x - self.b_dec if self.config.subtract_b_dec else x

    def _check(self, x: Tensor, width: int, site: str) -> None:
        """InputError unless these are activations of this width."""
        instance_of(Tensor, x, f"activations given to {self.name}:", f"a tensor of width {width}")
        if x.shape[-1:] != (width,):
            found = f"width {x.shape[-1]}" if x.ndim else "shape ()"
            raise InputError(
                f"activations of {found} given to {self.name}", expected=f"width {width} ({site})"
            )

    def _unit(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch one"] | None:
        """The factor that undoes the normalisation in an autoencoder's reconstruction, if any."""
        if self.config.normalize == "none" or self.config.transcoder:
            return None
        if self.config.normalize == "layer_norm":
            unit: Tensor = x.std(-1, keepdim=True)
        else:
            unit = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / self.config.d_in**0.5
        return unit

    @torch.no_grad()
    def encode(
        self, x: Float[Tensor, "*batch d_read"], site: str | None = None, *, half: bool = False
    ) -> Code:
        """The code of each row, leading axes flattened. No gradient flows through it.

        Args:
            half: preselect by a bf16 matmul where that is faster. What is chosen is computed in
                fp32 again; other entries can come out only where two are nearly equal.
            site: for a causal dictionary of several sites: `x` is the activation of this one, and
                the code that of the features that read it.

        Raises:
            InputError: not a tensor of the right width, or a value is not finite.
        """
        config, part, groups = self.config, slice(None), self.config.groups
        if site is not None and isinstance(config.wiring, CrossLayer) and config.causal:
            first = self._slot(site, self.reads) * config.wiring.size
            part, groups = slice(first, first + config.wiring.size), 1
            self._check(x, config.widths[0], site)
            rows = x.to(self.W_enc).reshape(-1, config.widths[0])
        else:
            rows = self.encoder_input(x).reshape(-1, config.d_in)
        if not bool(torch.isfinite(x).all()):
            raise InputError(
                f"activations that are not finite given to {self.name}", expected="finite numbers"
            )
        if config.kind == "neurons":
            return Code.both_signs(rows)
        W_enc, b_enc = self.W_enc[part], self.b_enc[part]
        choice = None if self.choice is None else self.choice[part]

        def adjust(chunk: slice, pre: Tensor) -> None:
            if self.W_glu is not None and self.b_glu is not None:
                pre.mul_(torch.sigmoid(rows[chunk] @ self.W_glu.T + self.b_glu))
            if choice is not None:
                pre.mul_(choice)

        change = None if self.W_glu is None and choice is None else adjust
        plain = change is None and not config.signed and groups == 1 and config.scope == "token"
        half = half and plain and W_enc.shape[1] == rows.shape[1]
        half = half and half_is_faster(W_enc.numel(), self.device)
        if self.threshold is not None:
            bound = self.threshold if config.signed else self.threshold.clamp_min(0)
            code = encode_above(rows, W_enc, b_enc, bound[part], adjust=change, half=half)
        else:
            assert config.k is not None  # a TopK configuration without k is refused
            pooled = config.scope.endswith("batch")
            how: Any = {"groups": groups, "pooled": pooled, "signed": config.signed, "half": half}
            code = encode_top(rows, W_enc, b_enc, config.k, adjust=change, **how)
        if choice is not None:
            code = in_order(Code(code.indices, code.values / choice[code.indices]))
        if part.start:
            code = Code(code.indices + part.start * code.active, code.values)
        unit = self._unit(x.to(rows))
        return code if unit is None else Code(code.indices, code.values * unit.reshape(-1, 1))

    @torch.no_grad()
    def base(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The reconstruction without any feature: b_dec, the skip's output, the removed mean."""
        self._check(x, self.config.d_in, self.config.site_in)
        x = x.to(self.W_enc)
        unit = self._unit(x)
        out = self.b_dec.expand(*x.shape[:-1], -1) if unit is None else self.b_dec * unit
        if unit is not None and self.config.normalize == "layer_norm":
            out = out + x.mean(-1, keepdim=True)
        if self.W_skip is None:
            return out
        if not self.config.several:
            return out + x @ self.W_skip.T
        parts = x.reshape(*x.shape[:-1], len(self.reads), -1)
        return out + torch.einsum("...si,soi->...so", parts, self.W_skip).flatten(-2)

    @torch.no_grad()
    def decode(self, code: Code, x: Float[Tensor, "batch d_in"]) -> Float[Tensor, "batch d_out"]:
        """The reconstruction of each row from its code and its input.

        Raises:
            InputError: not a code of this dictionary's features, or `x` has other rows.
        """
        instance_of(Code, code, f"a code given to {self.name}:", "a Code, as encode returns it")
        base = self.base(x)
        if x.shape[:-1] != (len(code),):
            raise InputError(
                f"activations of shape {tuple(x.shape)} to a code of {len(code)} rows",
                expected=f"the [{len(code)}, {self.config.d_in}] that were encoded",
            )
        if bool(((code.indices < 0) | (code.indices >= self.d_dict)).any()):
            raise InputError(
                f"a code with feature {int(code.indices.max())} given to {self.name}",
                expected=f"features below {self.d_dict}",
            )
        return self.config.wiring.decode(code.ragged(), self.W_dec) + base

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Encode and decode, some rows at a time; leading axes and dtype are those of `x`."""
        self._check(x, self.config.d_in, self.config.site_in)
        rows = x.reshape(-1, x.shape[-1])
        parts = (rows[i : i + ROWS] for i in range(0, max(1, len(rows)), ROWS))
        out = torch.cat([self.decode(self.encode(part), part) for part in parts])
        return out.reshape(*x.shape[:-1], self.config.d_out).to(x.dtype)

    def pre(
        self, x: Float[Tensor, "*batch d_in"], features: Int[Tensor, " chosen"] | list[int]
    ) -> Float[Tensor, "*batch chosen"]:
        """Pre-activations of chosen features (before selection and ReLU), in units of their
        values."""
        try:
            chosen = torch.as_tensor(features, dtype=torch.int64, device=self.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"features {short(features)} of {self.name}", expected="a list of their numbers"
            ) from error
        rows = self.encoder_input(x)
        if self.config.kind == "neurons":
            return (
                torch.where(chosen < self.config.d_in, 1.0, -1.0) * rows[..., self._neuron(chosen)]
            )
        found = self.config.wiring.read(rows, self.W_enc[chosen], chosen) + self.b_enc[chosen]
        if self.W_glu is not None and self.b_glu is not None:
            found = found * torch.sigmoid(rows @ self.W_glu[chosen].T + self.b_glu[chosen])
        unit = self._unit(x.to(found))
        return found if unit is None else found * unit

    def encoder_at(
        self,
        site: str,
        features: Int[Tensor, " chosen"],
        x: Float[Tensor, "chosen d_in"] | None = None,
    ) -> Float[Tensor, "chosen width"]:
        """The encoder row of each feature at a site: zeros if it does not read the site.

        Args:
            x: an input row for each feature, at which a GLU's gate is evaluated and held constant.

        Raises:
            InputError: the site is not read, or there is a GLU and no `x`.
        """
        slot = self._slot(site, self.reads)
        if self.config.kind == "neurons":
            return self.decoder_at(site, features)
        if isinstance(self.config.wiring, CrossLayer):
            own = self.config.wiring.layer(features) == slot
            return self.W_enc[features] * own[:, None]
        found = self.W_enc[features][:, self.config.columns[slot] if self.config.several else ...]
        if self.W_glu is None or self.b_glu is None:
            return found
        if x is None:
            raise InputError(f"{self.name} has a GLU encoder", expected="the rows that are encoded")
        gate = torch.sigmoid((x.to(found) * self.W_glu[features]).sum(-1) + self.b_glu[features])
        return found * gate[:, None]

    def decoder_at(
        self, site: str, features: Int[Tensor, " chosen"] | None = None
    ) -> Float[Tensor, "chosen width"]:
        """The decoder row of each feature (all if None) at a site: zeros if the site is below a
        cross-layer transcoder's feature.

        Raises:
            InputError: the site is not written.
        """
        every = torch.arange(self.d_dict, device=self.device) if features is None else features
        if self.config.kind == "neurons" and site == self.config.site_in:
            rows = self.W_dec.new_zeros(len(every), self.config.d_in)
            sign = torch.where(every < self.config.d_in, 1.0, -1.0)
            return rows.scatter(1, self._neuron(every)[:, None], sign[:, None])
        slot = self._slot(site, self.config.sites_out)
        if isinstance(self.config.wiring, CrossLayer):
            return self.config.wiring.written(self.W_dec, slot, every)
        rows = self.W_dec if features is None else self.W_dec[features]
        return rows[:, self.config.columns[slot]]

    @torch.no_grad()
    def write(
        self, site: str, code: Code, x: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch width"]:
        """The reconstruction of a code at one site that is written.

        Args:
            x: the input; with several sites that of the one in the same place of `reads`.
        """
        if self.config.kind == "neurons":
            dense, num = code.dense(self.d_dict), self.config.d_in
            return dense[:, :num] - dense[:, num:]
        if not self.config.several:
            return self.decode(code, x)
        slot, wiring, ragged = self._slot(site, self.writes), self.config.wiring, code.ragged()
        columns = self.config.columns[slot]
        if isinstance(wiring, CrossLayer):
            there = wiring.layer(ragged.indices) <= slot
            place = wiring.place(ragged.indices.clamp(max=(slot + 1) * wiring.size - 1), slot)
            values = torch.where(there, ragged.values, 0.0)
            out = kernels.decode(RaggedCode(ragged.indptr, place, values), self.W_dec)
        else:
            out = kernels.decode(ragged, self.W_dec)[:, columns]
        return out + self.base_at(site, x)

    def base_at(self, site: str, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """`base` at one site that is written; `x` as in `write`."""
        if not self.config.several:
            return self.base(x)
        skip, bias = (
            self.skip_at(site),
            self.b_dec[self.config.columns[self._slot(site, self.writes)]],
        )
        out = bias.expand(len(x), -1)
        return out if skip is None else out + x.to(out) @ skip.T

    def skip_at(self, site: str) -> Float[Tensor, "width d_read"] | None:
        """The skip matrix that writes a site; None without one."""
        slot = self._slot(site, self.writes)
        return self.W_skip[slot] if self.W_skip is not None and self.config.several else self.W_skip

    def _neuron(self, features: Tensor) -> Tensor:
        return features % self.config.d_in

    def _slot(self, site: str, sites: tuple[str, ...]) -> int:
        if site not in sites:
            raise InputError(f"site {site} of {self.name}", expected=" or ".join(sites))
        return sites.index(site)

    def concat_sites(self, parts: Mapping[str, Float[Tensor, "*batch width"]]) -> Tensor:
        """The input [*batch, d_in]: the activations of its sites side by side.

        Raises:
            InputError: a site is missing.
        """
        sites = self.config.sites_in
        instance_of(Mapping, parts, f"activations given to {self.name}:", "a tensor by site")
        if missing := [site for site in sites if site not in parts]:
            raise InputError(
                f"{self.name} reads {missing[0]} too", expected=f"all of {', '.join(sites)}"
            )
        return torch.cat([parts[site] for site in sites], -1)

    def split_sites(
        self, y: Float[Tensor, "*batch d_out"]
    ) -> dict[str, Float[Tensor, "*batch width"]]:
        """The output by site."""
        self._check(y, self.config.d_out, self.config.site_out)
        sites = zip(self.config.sites_out, self.config.columns, strict=True)
        return {site: y[..., columns] for site, columns in sites}

    @torch.no_grad()
    def unexplained(
        self, x: Float[Tensor, "batch d_in"], y: Float[Tensor, "batch d_out"]
    ) -> dict[str, float]:
        """The fraction of variance unexplained at each site that is written, |y - y^|^2 /
        |y - mean y|^2 over the batch; `x` is the input."""
        self._check(y, self.config.d_out, self.config.site_out)
        y = y.to(self.W_enc)
        wanted, error = self.split_sites(y - y.mean(0)), self.split_sites(y - self(x.to(y)))
        return {
            site: float(error[site].square().sum() / spread.square().sum())
            for site, spread in wanted.items()
        }

    def site_norms(self) -> Float[Tensor, "d_dict sites"]:
        """The norm of each feature's decoder row at each site, in training units, in which sites
        are comparable."""
        scales = torch.as_tensor(self.output_scale, device=self.device).expand(
            len(self.config.sites_out)
        )
        one = torch.arange(self.d_dict, device=self.device)[:, None]
        unit = Code(one, torch.ones_like(one, dtype=torch.float32)).ragged()
        parts = self.split_sites(self.config.wiring.decode(unit, self.W_dec))
        return torch.stack([part.norm(dim=1) for part in parts.values()], 1) * scales
