"""Raw tensors of one modality as the network reads them: scaled, numbered, compressed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from skmm.blocks import BlockInfo
from skmm.inputs._inputs import Inputs
from skmm.inputs._scaling import Projection, Scaler, standardised
from skmm.layers import SparseRows, weighted_sum, with_axes_of

# Deviations from zero of a mean, from which on float32 has too few digits for what varies around it: a time stamp.
_FAR = 1e3


def constant(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy of an array as a tensor, for a buffer."""
    return torch.from_numpy(np.array(array)).to(dtype)


class DenseReader(nn.Module):
    """Standardises vectors, sequences, images or videos.

    Shape
    -----
    x (B, ...) of ``dtype``, mask (B,) or (B, T) -> (B, ...) float32, 0 where nothing exists.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, scaler: Scaler | None, *, precise: bool) -> None:
        super().__init__()
        far = scaler is not None and bool((np.abs(scaler.mean) > _FAR * scaler.scale).any())
        self.dtype = torch.float64 if far or precise else torch.float32
        self.scales = scaler is not None
        if scaler is not None:
            self.register_buffer("mean", constant(scaler.mean, self.dtype))
            self.register_buffer("scale", constant(scaler.scale, self.dtype))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.scales:
            x = standardised(x, self.mean, self.scale)
        return torch.where(with_axes_of(mask, x), x.float(), 0.0)


class Places(nn.Module):
    """Places of numbers among sorted ones, by halving; and which of them are there.

    Shape
    -----
    values (...) int64 -> places (...) int64, found (...) bool
    """

    known: Tensor

    def __init__(self, known: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("known", constant(known, torch.int64))

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        n = len(self.known)
        place = torch.zeros_like(values)
        if n == 0:
            return place, place > 0
        step = 1 << (n - 1).bit_length()
        while step:
            further = place + step
            inside = further < n
            place = torch.where(inside & (self.known[torch.where(inside, further, 0)] <= values), further, place)
            step //= 2
        return place, self.known[place] == values


class TokenReader(nn.Module):
    """Numbers token ids by their place among those of training, all others by the number that follows.

    Shape
    -----
    x (B, T) int64, mask (B, T) -> (B, T) int64
    """

    dtype = torch.int64

    def __init__(self, ids: np.ndarray | None, n_ids: int) -> None:
        super().__init__()
        self.places = None if ids is None else Places(ids)
        self.n_ids = n_ids

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.places is not None:
            place, found = self.places(x)
            x = torch.where(found, place, self.n_ids)
        return torch.where(mask, x, 0)


class Compression(nn.Module):
    """Principal directions of sparse rows.

    Shape
    -----
    rows, each (B, N), or dense (B, d) -> (B, n_components)
    """

    columns: Tensor
    matrix: Tensor

    def __init__(self, projection: Projection, n_features: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.chosen = projection.columns is not None
        matrix = projection.matrix
        if projection.columns is not None:  # all others read a row of zeros, the last
            columns = np.full(n_features, len(matrix))
            columns[projection.columns] = np.arange(len(matrix))
            matrix = np.vstack([matrix, np.zeros_like(matrix[:1])])
            self.register_buffer("columns", constant(columns, torch.int64))
        self.register_buffer("matrix", constant(matrix, dtype))

    def forward(self, rows: SparseRows) -> Tensor:
        if not self.chosen:
            return weighted_sum(rows.columns, rows.weights, self.matrix)
        columns = rows.columns
        if columns is None:
            return rows.weights @ self.matrix[self.columns]
        return weighted_sum(self.columns[columns], rows.weights, self.matrix)


class SparseReader(nn.Module):
    """Scales sparse rows, and compresses wide ones.

    Shape
    -----
    x : SparseRows of columns and weights (B, N), or a dense Tensor (B, d); mask (B,) -> SparseRows, 0 where nothing
    exists. Of what is dense the columns are None.
    """

    scale: Tensor

    def __init__(
        self, scaler: Scaler | None, projection: Projection | None, n_features: int, *, precise: bool
    ) -> None:
        super().__init__()
        self.dtype = torch.float64 if precise else torch.float32
        scale = np.ones(1) if scaler is None else scaler.scale
        self.register_buffer("scale", constant(scale))
        self.compression = None if projection is None else Compression(projection, n_features)

    def forward(self, x: SparseRows, mask: Tensor) -> SparseRows:
        weights = torch.where(mask.unsqueeze(-1), x.weights, 0.0).float()
        raw = SparseRows(x.columns, weights, weights[:, :0])
        compressed = raw.compressed if self.compression is None else self.compression(raw)
        return SparseRows(x.columns, weights / self.scale, compressed)


def make_reader(name: str, info: BlockInfo, inputs: Inputs, *, precise: bool) -> nn.Module:
    """What reads a modality as the fit learned to.

    ``precise`` asks for float64 of whatever trees read sums of: the last digit decides on which side of a border a
    sample is.
    """
    if name in inputs.readers:
        own = type(inputs.readers[name]).__name__
        raise ValueError(
            f"modality {name!r}: its encoder reads raw samples by code of another package ({own}), which is not "
            "part of the module. Compute its vectors beforehand, e.g. with a TextEmbedder or ImageEmbedder in a "
            "ModalityTransformer, and fit on these."
        )
    if info.kind == "tokens":
        return TokenReader(inputs.ids.get(name), info.shape[0])
    if info.kind == "sparse":
        return SparseReader(inputs.scalers[name], inputs.projections.get(name), info.shape[0], precise=precise)
    return DenseReader(inputs.scalers[name], precise=precise and info.kind != "vector")
