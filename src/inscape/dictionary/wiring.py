"""Which columns of the input and the output a feature reads and writes, and its kernels.

Plain: every feature reads the whole input and writes the whole output.

Side by side (crosscoders): the same, over several sites. A penalty weights a feature by the sum of
its decoder norms over the sites (Lindsey et al. 2024, "Sparse crosscoders for cross-layer features
and model diffing").

Cross-layer (Ameisen et al. 2025, "Circuit tracing"), L layers of m features and sites of width d:
1. Feature f belongs to layer f // m, reads that layer's columns, and writes those of its layer and
   all later ones. W_enc is [L·m, d]; W_dec has a row of width d for each feature and each layer
   that it writes, [m·L(L+1)/2, d]: no zeros are stored, multiplied or trained.
2. Batch and layer are one axis: x is [batch·L, d]. An entry of the code reads the row of its own
   layer, and becomes one entry for each layer that it writes ("wide"), with that layer's row of
   W_dec. So the kernels of plain dictionaries decode it and compute its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.dictionary import kernels
from inscape.dictionary.code import RaggedCode, occurrences, row_starts
from inscape.dictionary.kernels import CodeGradient, RowBlock, RowTerms, WeightGradients


class Wiring:
    """Every feature reads the whole input and writes the whole output."""

    decode = staticmethod(kernels.decode)
    reconstruct = staticmethod(kernels.reconstruct)
    value_gradients = staticmethod(kernels.value_gradients)
    weight_gradients = staticmethod(kernels.weight_gradients)

    def read(
        self, x: Float[Tensor, "*batch d_in"], W_enc: Tensor, chosen: Tensor | None = None
    ) -> Float[Tensor, "*batch features"]:
        """x @ W_enc^T; `chosen`: the features whose rows W_enc holds, if not all."""
        return x @ W_enc.T

    def norms(self, W_dec: Tensor) -> Float[Tensor, " d_dict"]:
        """The weight of each feature in a penalty."""
        return torch.linalg.vector_norm(W_dec, dim=1)  # type: ignore[no-any-return]

    def norm_terms(self, amount: Float[Tensor, " d_dict"], W_dec: Tensor) -> RowTerms:
        """The gradient of W_dec, given that of `norms`."""
        return RowTerms(_per(amount, self.norms(W_dec)))


class SideBySide(Wiring):
    """Several sites side by side; `widths` of each."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self.widths = widths

    def site_norms(self, W_dec: Tensor) -> Float[Tensor, "d_dict sites"]:
        """The decoder's norm at each site."""
        parts = torch.split(W_dec, list(self.widths), dim=1)
        return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts], 1)

    def norms(self, W_dec: Tensor) -> Float[Tensor, " d_dict"]:
        return self.site_norms(W_dec).sum(1)

    def norm_terms(self, amount: Float[Tensor, " d_dict"], W_dec: Tensor) -> RowTerms:
        return RowTerms(_per(amount[:, None], self.site_norms(W_dec)), widths=self.widths)


class CrossLayer(Wiring):
    """`num` layers of `size` features each; a feature writes its layer and all that follow."""

    def __init__(self, num: int, size: int) -> None:
        self.num, self.size = num, size
        self.starts = [size * (n * num - n * (n - 1) // 2) for n in range(num)]
        self.num_rows = size * num * (num + 1) // 2

    def decode(self, code: RaggedCode, W_dec: Tensor, bias: Tensor | None = None) -> Tensor:
        wide, _ = self._wide(self._by_layer(code)[0])
        out = kernels.decode(wide, W_dec).reshape(len(code), -1)
        return out if bias is None else out + bias

    def reconstruct(
        self, code: RaggedCode, W_dec: Tensor, bias: Tensor, target: Tensor
    ) -> tuple[Tensor, Float[Tensor, " entries"]]:
        error = target - self.decode(code, W_dec, bias)
        return error, self.value_gradients(code, W_dec, error)

    def value_gradients(
        self,
        code: RaggedCode,
        W_dec: Tensor,
        grad: Tensor,
        *,
        groups: Tensor | None = None,
        everywhere: bool = False,
    ) -> Float[Tensor, " entries"]:
        narrow, order = self._by_layer(code)
        wide, source = self._wide(narrow)
        parts = kernels.value_gradients(wide, W_dec, self._rows(grad), everywhere=everywhere)
        summed = torch.zeros_like(narrow.values).index_add_(0, source, parts)
        return torch.empty_like(summed).index_copy_(0, order, summed)

    def weight_gradients(
        self,
        codes: Sequence[CodeGradient],
        x: Tensor,
        W_dec: Tensor,
        *,
        project: bool,
        terms: RowTerms | None = None,
        block: RowBlock | None = None,
        out: WeightGradients | None = None,
    ) -> WeightGradients:
        """Encoder and decoder by a pass each; `squared_norm` has a part for every row of either."""
        assert block is None  # dead features' codes are lists here
        num_features, rows = self.num * self.size, self._rows(x)
        if out is None:
            out = WeightGradients(
                W_enc=x.new_empty((num_features, rows.shape[1])),
                b_enc=x.new_empty(num_features),
                W_dec=torch.empty_like(W_dec),
                squared_norm=x.new_empty(num_features + len(W_dec)),
            )
        readers, writers = [], []
        for given in codes:
            narrow, order = self._by_layer(given.code)
            wide, _ = self._wide(narrow)
            d_out = self._rows(given.d_out)
            readers.append(CodeGradient(narrow, given.d_pre[order], d_out[:, :0]))
            writers.append(CodeGradient(wide, torch.zeros_like(wide.values), d_out))
        encoder = kernels.weight_gradients(
            readers,
            rows,
            W_dec.new_empty((num_features, 0)),
            project=False,
            out=replace(
                out,
                W_dec=W_dec.new_empty((num_features, 0)),
                squared_norm=out.squared_norm[:num_features],
            ),
        )
        decoder = kernels.weight_gradients(
            writers,
            rows[:, :0],
            W_dec,
            project=project,
            terms=None if terms is None else RowTerms(terms.decoder),
            out=replace(
                out,
                W_enc=x.new_empty((len(W_dec), 0)),
                b_enc=x.new_empty(len(W_dec)),
                squared_norm=out.squared_norm[num_features:],
            ),
        )
        squared = encoder.squared_norm
        if terms is not None and terms.encoder is not None and terms.along is not None:
            along = terms.along.view(self.num, 1, -1)
            encoder.W_enc.view(self.num, self.size, -1).addcmul_(
                terms.encoder.view(self.num, self.size, 1), along
            )
            encoder.b_enc.add_(terms.encoder, alpha=terms.rows)
            squared = encoder.W_enc.square().sum(1) + encoder.b_enc.square()
        squared = torch.cat([squared, decoder.squared_norm])
        return WeightGradients(encoder.W_enc, encoder.b_enc, decoder.W_dec, squared)

    def read(
        self, x: Float[Tensor, "*batch d_in"], W_enc: Tensor, chosen: Tensor | None = None
    ) -> Float[Tensor, "*batch features"]:
        """Each feature's own layer of x times its row."""
        layers = x.reshape(*x.shape[:-1], self.num, -1)
        if chosen is None:
            maps = W_enc.view(self.num, self.size, -1)
            return torch.einsum("...ld,lfd->...lf", layers, maps).flatten(-2)
        found: Tensor = (layers[..., chosen // self.size, :] * W_enc).sum(-1)
        return found

    def norms(self, W_dec: Tensor) -> Float[Tensor, " d_dict"]:
        owner = self._owners(W_dec.device)
        squared = W_dec.new_zeros(self.num * self.size)
        return squared.index_add_(0, owner, W_dec.square().sum(1)).sqrt()

    def norm_terms(self, amount: Float[Tensor, " d_dict"], W_dec: Tensor) -> RowTerms:
        return RowTerms(_per(amount, self.norms(W_dec))[self._owners(W_dec.device)])

    def layer(self, features: Int[Tensor, " chosen"]) -> Int[Tensor, " chosen"]:
        """The layer that each feature reads, and the first that it writes."""
        return features // self.size

    def written(
        self, W_dec: Tensor, target: int, features: Int[Tensor, " chosen"]
    ) -> Float[Tensor, "chosen d"]:
        """The decoder row of each feature for a layer: zeros below the feature's own."""
        there = self.layer(features) <= target
        out = W_dec.new_zeros((len(features), W_dec.shape[1]))
        out[there] = W_dec[self.place(features[there], target)]
        return out

    def place(
        self, features: Int[Tensor, " chosen"], target: int | Int[Tensor, " chosen"]
    ) -> Int[Tensor, " chosen"]:
        """The row of W_dec of each feature for a layer, its own or a later one."""
        layer = self.layer(features)
        start = torch.tensor(self.starts, device=features.device)[layer]
        return start + features % self.size * (self.num - layer) + target - layer

    def targets(self) -> Int[Tensor, " rows"]:
        """The layer that each row of W_dec writes."""
        every = torch.arange(self.num)
        return torch.cat([every[layer:].repeat(self.size) for layer in range(self.num)])

    def _owners(self, device: torch.device) -> Int[Tensor, " rows"]:
        """The feature of each row of W_dec."""
        layer = torch.arange(self.num, device=device).repeat_interleave(self.size)
        return torch.arange(len(layer), device=device).repeat_interleave(self.num - layer)

    def _rows(self, x: Float[Tensor, "batch num_d"]) -> Float[Tensor, "batch_num d"]:
        return x.reshape(len(x) * self.num, -1)

    def _by_layer(self, code: RaggedCode) -> tuple[RaggedCode, Int[Tensor, " entries"]]:
        """The code over the rows (batch, layer) that its entries read, and their order in it."""
        place = code.rows * self.num + code.indices // self.size
        order = place.argsort(stable=True)
        indptr = row_starts(occurrences(place, len(code) * self.num))
        return RaggedCode(indptr, code.indices[order], code.values[order]), order

    def _wide(self, narrow: RaggedCode) -> tuple[RaggedCode, Int[Tensor, " wide"]]:
        """The entries over the rows that they write, by rows of W_dec; and the entry of each."""
        counts = narrow.indptr.diff().view(-1, self.num).cumsum(1).flatten()
        indptr = row_starts(counts)
        every = torch.arange(len(counts), device=counts.device)
        row = torch.repeat_interleave(every, counts)
        # A row holds its batch entry's first ones: those of its own layer and of those before.
        first = narrow.indptr[:-1][:: self.num]
        within = torch.arange(len(row), device=row.device) - indptr[row]
        source = within + first[row // self.num]
        feature = narrow.indices[source]
        place = self.place(feature, row % self.num)
        return RaggedCode(indptr, place, narrow.values[source]), source


def _per(amount: Tensor, norm: Tensor) -> Tensor:
    """amount / norm, 0 where the norm is."""
    return torch.where(norm > 0, amount / norm.clamp_min(1e-30), 0.0)
