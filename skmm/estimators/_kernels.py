"""Sequences as features of random convolutions, which linear models read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skmm.blocks import Block, RaggedArray
from skmm.blocks._kinds import as_kind
from skmm.inputs._batches import Batches
from skmm.inputs._scaling import Scaler, standardised

_LENGTH = 9  # of a kernel
_KERNELS = 500  # of a sequence; several share twice as many, so that one may read all of them side by side
_FEWEST = 50  # of a sequence, that tell something
_MOST_WORK = 2e11  # products that they may take: as long as experts of other kinds
_MOST_NUMBERS = 4e7  # of all sequences that tables may hold
_MOST_CHANNELS = 200  # of which each is read by several kernels


def n_kernels(n_sequences: int) -> int:
    """Kernels for each of so many sequences."""
    return min(_KERNELS, 2 * _KERNELS // max(1, n_sequences))


def affordable(n_samples: int, n_steps: int, n_channels: int, n_sequences: int) -> bool:
    """Whether sequences with so many steps in all may have kernels."""
    n = n_kernels(n_sequences)
    work, numbers = n_steps * n_channels * _LENGTH * n, n_samples * n_sequences * 2 * n
    return n >= _FEWEST and n_channels <= _MOST_CHANNELS and work <= _MOST_WORK and numbers <= _MOST_NUMBERS


class RandomKernels:
    """Convolutions of a sequence with random kernels, each in two numbers a sample (Dempster et al. 2020, ROCKET).

    A kernel reads some channels, standardised, at distances of 1, 2, 4, ... steps. Of what it finds over the steps
    the largest value is kept, and in what share of the steps it is positive. The share rises from 0 to 1 within one
    unit, where the original counts: it is then the same on all machines, and as good.

    Shape of a table: (n_samples, 2 * number of kernels).

    Parameters
    ----------
    block : ndarray of shape (n_samples, n_steps, ...) or RaggedArray
        Training samples.
    weights : ndarray of shape (n_samples,)
        Their weights, 0 for samples that are missing.
    n_kernels : int
        How many.
    rng : numpy.random.Generator
        What they are drawn from.

    Attributes
    ----------
    scaler : Scaler
        Of the channels.
    banks : list of (int, ndarray of shape (m, n_channels, 9), ndarray of shape (m,))
        Distance between the steps that kernels read, their weights, and what is added.
    """

    def __init__(self, block: Any, weights: np.ndarray, n_kernels: int, rng: np.random.Generator) -> None:
        block = _sequences(block)
        there = np.flatnonzero(weights > 0)
        lengths = block.lengths[there] if isinstance(block, RaggedArray) else np.full(len(there), block.shape[1])
        self.scaler = Scaler.fit(block, weights > 0, weights)
        n_channels = len(self.scaler.mean)
        reach = float(np.median(lengths)) if len(lengths) else 1.0
        distances = [2**i for i in range(20) if 2**i * (_LENGTH - 1) < reach] or [1]
        self.banks = [
            (d, *_drawn(len(own), n_channels, rng))
            for d, own in zip(distances, np.array_split(np.arange(n_kernels), len(distances)), strict=True)
            if len(own)
        ]

    @property
    def n_features(self) -> int:
        """Columns of the table."""
        return 2 * sum(len(bias) for _, _, bias in self.banks)

    def table(self, block: Block, present: np.ndarray) -> np.ndarray:
        """The features, NaN where a sample is missing: (n_samples, n_features) float32."""
        block = _sequences(block)
        out = np.full((len(present), self.n_features), np.nan, dtype=np.float32)
        mean, scale = torch.from_numpy(self.scaler.mean), torch.from_numpy(self.scaler.scale)
        banks = [(d, torch.from_numpy(w), torch.from_numpy(b)) for d, w, b in self.banks]
        for rows, x, mask in _padded(block, np.flatnonzero(present), self.n_features):
            at_a_time = max(1, Batches.most_numbers // max(1, mask.numel()))  # of a long sample not all
            out[rows] = features(x, mask, mean, scale, banks, at_a_time).numpy()
        return out


def _sequences(block: Block) -> Any:
    """Dense or ragged, channels on one axis: (n, T, d)."""
    block = as_kind(block, ("sequence",))
    if isinstance(block, RaggedArray):
        return RaggedArray(block.values.reshape(len(block.values), -1), block.offsets)
    return block.reshape(*block.shape[:2], -1)


def _drawn(n: int, n_channels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Kernels that read few channels more often than many, each channel without its mean, and what is added."""
    weights = rng.normal(size=(n, n_channels, _LENGTH))
    weights -= weights.mean(axis=2, keepdims=True)
    widest = np.log2(min(n_channels, _LENGTH) + 1)
    for kernel, n_read in zip(weights, (2 ** rng.uniform(0, widest, size=n)).astype(int), strict=True):
        kernel[rng.permutation(n_channels)[n_read:]] = 0
    return weights.astype(np.float32), rng.uniform(-1, 1, size=n).astype(np.float32)


def _padded(block: Any, rows: np.ndarray, n_features: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Rows, some at a time, their steps (B, T, d) float64 and which of these there are (B, T)."""
    if not isinstance(block, RaggedArray):
        size = max(1, Batches.most_numbers // max(1, block.shape[1] * n_features))
        for start in range(0, len(rows), size):
            own = rows[start : start + size]
            dense = np.asarray(block[own], dtype=np.float64)
            yield own, torch.from_numpy(dense), torch.ones(dense.shape[:2], dtype=torch.bool)
        return
    rows = rows[np.argsort(block.lengths[rows], kind="stable")]  # neighbours are as long as one another
    while len(rows):
        longest = block.lengths[rows]
        size = max(
            1, int(np.searchsorted(longest * np.arange(1, len(rows) + 1) * n_features, Batches.most_numbers))
        )
        own, rows = rows[:size], rows[size:]
        part = block[own]
        mask = np.arange(part.lengths.max(initial=1)) < part.lengths[:, None]
        x = np.zeros((*mask.shape, part.values.shape[1]))
        x[mask] = part.values
        yield own, torch.from_numpy(x), torch.from_numpy(mask)


def features(
    x: Tensor,
    mask: Tensor,
    mean: Tensor,
    scale: Tensor,
    banks: list[tuple[int, Tensor, Tensor]],
    at_a_time: int | None = None,
) -> Tensor:
    """Steps (B, T, d) that a mask (B, T) has, as features (B, n) float32; NaN where there is none.

    So many kernels are computed with at a time, or all of a bank.
    """
    there = mask.unsqueeze(1)
    steps = torch.where(mask.unsqueeze(-1), standardised(x, mean, scale), 0.0).nan_to_num(nan=0.0)
    steps = steps.float().transpose(1, 2)
    n = there.sum(-1)
    found = []
    for distance, weights, bias in banks:
        size = at_a_time or len(bias)
        shares, largest = [], []
        for own, added in zip(weights.split(size), bias.split(size), strict=True):
            z = F.conv1d(steps, own, added, padding=distance * (_LENGTH // 2), dilation=distance)  # (B, m, T)
            shares.append(torch.where(there, (z + 0.5).clamp(0.0, 1.0), 0.0).sum(-1) / n.clamp(min=1))
            largest.append(torch.where(there, z, -torch.inf).amax(-1))
        found += shares + largest
    return torch.where(n > 0, torch.cat(found, -1), torch.nan)
