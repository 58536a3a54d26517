"""Scaling and compression of a modality, learned in fit."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from skmm._progress import progress
from skmm._ranks import ALONE, Ranks, current
from skmm.blocks._blocks import Block, RaggedArray, block_kind, is_lazy, sample_shape
from skmm.blocks._prefetch import read_ahead

CLIP = 5.0  # standardised inputs past this many deviations say no more
_CHUNK = 1 << 22  # values converted at a time, so that no whole block is ever copied to float64
_LAZY_CHUNK = 1 << 20  # and of a block that is read lazily, whose reader holds rows as well
_COLUMNS = 1 << 16  # of a sparse block that its principal directions have
_STORED = 1 << 18  # and of a sparse block, each with its row
_STORED_ROWS = 8192  # of a table on disk, each of which takes more where it is stored
_FEW, _MANY = 16, 1 << 12  # channels, and numbers, that are not standardised one pixel after the other
_ROWS = 1024  # of a lazily read block whose samples differ in length


def _chunks(
    block: Block, present: np.ndarray, n_jobs: int | None, at_a_time: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that exist, some at a time, as float64 (rows or steps, *shape), with the row of each."""
    rows = np.flatnonzero(present)
    if is_lazy(block):
        for part, chosen in read_parts(block, rows, n_jobs, min(at_a_time, _LAZY_CHUNK), current()):
            if isinstance(part, RaggedArray):
                yield part.values.astype(np.float64), np.repeat(chosen, part.lengths)
            else:
                yield part.astype(np.float64), chosen
        return
    if isinstance(block, RaggedArray):
        held = np.cumsum(block.lengths[rows]) * max(1, math.prod(block.inner_shape))
        for chosen in current().mine(np.split(rows, np.flatnonzero(np.diff(held // at_a_time)) + 1)):
            part = block[chosen]
            yield part.values.astype(np.float64), np.repeat(chosen, part.lengths)
        return
    size = max(1, at_a_time // max(1, math.prod(block.shape[1:])))
    parts = current().mine([rows[start : start + size] for start in range(0, len(rows), size)])
    whole = len(rows) == len(present)
    for chosen in parts:
        part = block[chosen[0] : chosen[-1] + 1] if whole else block[chosen]
        yield np.asarray(part, dtype=np.float64), chosen


def read_parts(
    block: Block,
    rows: np.ndarray,
    n_jobs: int | None,
    at_a_time: int = _LAZY_CHUNK,
    ranks: Ranks = ALONE,
) -> Iterator[tuple[Block, np.ndarray]]:
    """Those of some rows of a lazily read block that exist, some at a time, as they are stored.

    Of several ``ranks`` each has a share of them.
    """
    rows = rows[np.argsort(block.rows[rows], kind="stable")]
    size = max(1, at_a_time // max(1, math.prod(block.shape[1:]))) if block.template is None else _ROWS
    size = size if block.runs is None else min(size, _STORED_ROWS)
    parts = ranks.mine([rows[start : start + size] for start in range(0, len(rows), size)])
    with progress("reading", sum(map(len, parts)), "row", after=1.0) as bar:
        for chosen, (values, exists) in zip(parts, read_ahead(block, parts, n_jobs), strict=True):
            yield values[exists], chosen[exists]
            bar.advance(len(chosen))


def _stored_chunks(
    block: Block, present: np.ndarray, n_jobs: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stored values of a sparse block, some at a time, as float64, with the row of each."""
    if is_lazy(block):
        for part, chosen in read_parts(block, np.flatnonzero(present), n_jobs):
            yield part.data.astype(np.float64), np.repeat(chosen, np.diff(part.indptr))
        return
    lengths = np.diff(block.indptr)
    size = max(1, _STORED * len(lengths) // max(1, block.nnz))
    for start in range(0, len(lengths), size):
        own = lengths[start : start + size]
        first = block.indptr[start]
        yield block.data[first : first + own.sum()].astype(np.float64), np.repeat(start + np.arange(len(own)), own)


def power_of_two(values: np.ndarray) -> np.ndarray:
    """The power of two below the largest value of each column, (n, d) -> (d,).

    A division by it rounds nothing, and what is left can be squared: 1e200 and 1e-200 cannot in float64.
    """
    return np.ldexp(1.0, np.frexp(np.abs(values).max(axis=0))[1] - 1)


Moments = tuple[float, np.ndarray, np.ndarray]  # total weight, means, and summed squares of what is away from them


def _joined(one: Moments, other: Moments) -> Moments:
    """Moments of two parts as one, as in Chan et al. 1983."""
    (total, mean, squares), (mass, own, around) = one, other
    away = own - mean
    squares = squares + around + away**2 * (total * mass / (total + mass))
    return total + mass, mean + away * (mass / (total + mass)), squares


def _of_all_ranks(own: Moments, unit: Any) -> tuple[Moments, Any]:
    """Moments of all parts, of which each rank has read some, in the unit of the first that has any."""
    parts = [part for part in current().gather((own, unit)) if part[0][0]]
    if not parts:
        return own, unit
    of_first = parts[0][1]
    ratios = [unit / of_first for _, unit in parts]
    each = [(total, mean * r, squares * r**2) for ((total, mean, squares), _), r in zip(parts, ratios, strict=True)]
    return functools.reduce(_joined, each), of_first


class Scaler:
    """Shift and scale of one modality, learned in fit.

    A vector is standardised per feature, a sequence, image or video per channel; a sparse block is only scaled, by
    the root mean square of its stored values. Weighted by the sample weights; constant features are left alone.
    """

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.mean = mean
        self.scale = scale
        self._tensors: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    @classmethod
    def fit(
        cls,
        block: Block,
        present: np.ndarray,
        weights: np.ndarray,
        n_jobs: int | None = None,
        *,
        at_a_time: int = _CHUNK,
    ) -> Scaler:
        """Learn from the rows that exist, in one pass; ``n_jobs`` processes read a lazy block, and so many values
        of a dense one are converted at a time."""
        if block_kind(block) == "sparse":
            mass, sum_of_squares, one = 0.0, 0.0, 0.0
            for stored, rows in _stored_chunks(block, present, n_jobs):
                each = (weights * present)[rows]
                stored = np.where(each > 0, stored, 0.0)
                mass += each[stored != 0].sum()
                if not one and stored.any():
                    one = float(power_of_two(stored))
                sum_of_squares += (each * (stored / (one or 1.0)) ** 2).sum()
            rms = math.sqrt(sum_of_squares / mass) * one if mass else 1.0
            return cls(np.zeros(1), np.array([rms or 1.0]))
        # a picture of (height, width) has one channel, not one for each column
        channels = 1 if block_kind(block) == "image" and len(block.shape) == 3 else sample_shape(block)[-1]
        found: Any = 0.0, np.zeros(channels), np.zeros(channels)
        unit: Any = None
        for x, rows in _chunks(block, present, n_jobs, at_a_time):
            each, flat = cls._per_channel(x, weights[rows], channels)
            mass = each.sum()
            if not mass:
                continue
            unit = power_of_two(flat) if unit is None else unit
            flat = flat / unit
            own = each @ flat / mass
            found = _joined(found, (mass, own, each @ (flat - own) ** 2))
        (total, mean, squares), unit = _of_all_ranks(found, unit)
        if not total:
            return cls(np.zeros(channels), np.ones(channels))
        scale = np.sqrt(squares / total)
        # a constant feature has a deviation of rounding errors, not of information
        constant = scale <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(mean), 1e-300)
        return cls(mean * unit, np.where(constant, 1.0, scale * unit))

    @staticmethod
    def _per_channel(x: np.ndarray, weights: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
        flat = x.reshape(-1, channels)
        return np.repeat(weights, len(flat) // max(1, len(x))), flat

    def apply(self, x: Tensor) -> Tensor:
        """Standardise (*, d) in the precision of x."""
        place = x.dtype, x.device
        if place not in self._tensors:  # what a single row would otherwise spend most of its time on
            # copies, since what was loaded as a memory map cannot be written to, of which torch warns
            mean, scale = torch.from_numpy(self.mean.copy()), torch.from_numpy(self.scale.copy())
            self._tensors[place] = mean.to(x.device, x.dtype), scale.to(x.device, x.dtype)
        mean, scale = self._tensors[place]
        if x.ndim > 2 and 1 < len(mean) < _FEW and x.numel() > _MANY and x.is_contiguous():
            # of few channels a line of a picture at a time, which takes a CPU a third of the time
            length = x.shape[-2]
            return standardised(x.flatten(-2), mean.repeat(length), scale.repeat(length)).view_as(x)
        return standardised(x, mean, scale)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_tensors": {}}  # there may be no such device where it is unpickled


def standardised(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Values less their mean, in deviations; no more than ``CLIP`` of them."""
    return torch.sub(x, mean).div_(scale).clamp_(-CLIP, CLIP)


def scaled(x: Tensor, scaler: Scaler | None, dtype: torch.dtype) -> Tensor:
    """Values in another precision, standardised in their own where that is more: a time stamp has its news in its
    last digits."""
    if scaler is None:
        return x.to(dtype)
    return scaler.apply(x if x.dtype == torch.float64 else x.to(dtype)).to(dtype)


class Projection:
    """Principal directions of a wide sparse block, learned in fit: a dense copy of few columns for its encoder.

    Truncated singular value decomposition of the rows, not centred so that they stay sparse (latent semantic
    analysis, Deerwester et al. 1990), and one scale for all components. Of more than 65,536 columns those of the
    largest sum of squares are read: the directions are a dense table of columns times components.

    Parameters
    ----------
    block : sparse matrix of shape (n_samples, n_features)
        Training rows.
    weights : ndarray of shape (n_samples,)
        Their weights, 0 for missing rows.
    n_components : int
        Directions wanted; fewer are kept where there are not as many rows or columns.
    n_read : int, optional
        Columns that are read at most.
    """

    def __init__(self, block: Block, weights: np.ndarray, n_components: int, n_read: int = _COLUMNS) -> None:
        rows = np.flatnonzero(weights > 0)
        weighted = sp.diags_array(np.sqrt(weights[rows])) @ sp.csr_array(block)[rows].astype(np.float64)
        self.columns: np.ndarray | None = None
        if weighted.shape[1] > n_read:
            mass = np.bincount(weighted.indices, weighted.data**2, minlength=weighted.shape[1])
            self.columns = np.sort(np.argsort(-mass, kind="stable")[:n_read])
            weighted = weighted[:, self.columns]
        k = min(n_components, *weighted.shape)
        _, singular, directions = randomized_svd(weighted, k, random_state=0)
        scale = math.sqrt((singular**2).sum() / (weights[rows].sum() * k)) or 1.0
        self.matrix = (directions / scale).T

    def apply(self, block: Block) -> np.ndarray:
        """(n, n_features) sparse -> (n, n_components)."""
        block = sp.csr_array(block)
        return (block if self.columns is None else block[:, self.columns]) @ self.matrix
