"""The data of a modality that is read when a batch needs it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skmm.blocks import Block, block_kind
from skmm.blocks._kinds import LazyRows, sample_shape, spread
from skmm.blocks._prefetch import Read, read_ahead
from skmm.inputs._columns import (
    Destination,
    Learned,
    Width,
    make_column,
    n_bytes,
    naming,
    over_steps,
    shared,
    take_rows,
)
from skmm.inputs._scaling import Scaler, scaled
from skmm.layers import with_axes_of


class LazyColumn:
    """Samples that are read when a batch needs them, or ahead of it.

    Parameters
    ----------
    block : lazily read block
        Where they are read.
    present : Tensor of bool, shape (n_samples,)
        Which samples there are to read; reading may find that more are missing.
    scaler : Scaler or None
        Applied to what was read.
    dtype : torch.dtype
        Of the batches.
    name : str
        The modality, for messages.
    n_jobs : int or None
        Processes that read ahead.
    """

    def __init__(
        self,
        block: Block,
        present: Tensor,
        scaler: Scaler | None,
        dtype: torch.dtype,
        name: str,
        n_jobs: int | None,
    ) -> None:
        self.block, self.present, self.scaler, self.dtype, self.name = block, present, scaler, dtype, name
        self.n_jobs = n_jobs
        self.sequence = block_kind(block) == "sequence"

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return next(self.stream([rows]))

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """What ``take`` gives for each batch in turn."""
        flat = [rows.reshape(-1) for rows in batches]
        there = [take_rows(self.present, rows) for rows in flat]
        wanted = [rows[mask].cpu().numpy() for rows, mask in zip(flat, there, strict=True)]
        reading = read_ahead(self.block, wanted, self.n_jobs)
        for rows, mask, numbers in zip(batches, there, wanted, strict=True):
            with naming(self.name):
                read = next(reading)
            yield self._finish(rows, mask, numbers, read)

    def held(self, width: Width) -> int:
        return width.of_sample(self.block.shape[1:], self.sequence)

    def _finish(self, rows: Tensor, mask: Tensor, numbers: np.ndarray, read: Read) -> tuple[Tensor, Tensor]:
        """A batch of the rows, of which those of ``mask``, with these numbers, were read."""
        values, exists = read
        # what cannot be written to is the memory of the table itself
        x = torch.from_numpy(values if values.flags.writeable else values.copy()).to(rows.device)
        if self.scaler is None:
            x = x.to(self.dtype)  # for which a number may be too large
        if values.dtype.kind == "f" and not torch.isfinite(x).all():
            finite = torch.isfinite(x.flatten(1)).all(1).cpu().numpy()
            bad = np.flatnonzero(exists & ~finite)
            if len(bad):
                raise ValueError(
                    f"modality {self.name!r}, row {numbers[bad[0]]}: NaN or infinity in a lazily read block."
                )
        x = scaled(x, self.scaler, self.dtype)
        if len(numbers) < len(mask) or not exists.all():
            found = torch.from_numpy(exists).to(rows.device)
            full = x.new_zeros(len(mask), *x.shape[1:])
            full[mask] = torch.where(with_axes_of(found, x), x, 0.0)
            mask = mask.masked_scatter(mask, found)
            x = full
        x, mask = x.reshape(*rows.shape, *x.shape[1:]), mask.reshape(rows.shape)
        if self.sequence:
            mask = over_steps(mask, x)
        return x, mask


class LazyFormColumn(LazyColumn):
    """Samples that are read as sparse rows, or as sequences that differ in length."""

    def __init__(self, block: Block, present: Tensor, learned: Learned, destination: Destination) -> None:
        super().__init__(block, present, learned.scaler, destination.dtype, learned.name, learned.n_jobs)
        self.learned, self.destination = learned, destination

    def held(self, width: Width) -> int:
        if self.learned.info.kind == "sparse":
            return max(1, self.learned.info.n_components)
        return int(width.of_steps(1, math.prod(sample_shape(self.block))))  # what a sample has is known when read

    def _finish(self, rows: Tensor, mask: Tensor, numbers: np.ndarray, read: Read) -> tuple[Any, Tensor]:
        block, exists = read
        values = block.data if sp.issparse(block) else block.values
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            starts = block.indptr if sp.issparse(block) else block.offsets
            bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
            holders = np.searchsorted(starts, bad, side="right") - 1
            if exists[holders].any():
                row = numbers[holders[exists[holders]][0]]
                raise ValueError(f"modality {self.name!r}, row {row}: NaN or infinity in a lazily read block.")
        there = mask.cpu().numpy()
        present = there.copy()
        present[there] = exists
        column: Any = make_column(
            spread(block, np.flatnonzero(there), len(there)), present, self.learned, self.destination
        )
        return column.take(torch.arange(len(there), device=rows.device).reshape(rows.shape))


@make_column.register
def _(block: LazyRows, present: np.ndarray, learned: Learned, destination: Destination) -> LazyColumn:
    exists = shared(present).to(destination.device)
    if block.template is not None:
        return LazyFormColumn(block, exists, learned, destination)
    return LazyColumn(block, exists, learned.scaler, destination.dtype, learned.name, learned.n_jobs)


@n_bytes.register
def _(block: LazyRows, dtype: torch.dtype) -> int:
    return 0
