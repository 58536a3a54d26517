"""The data of a fit on its device, and how batches are cut from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from skmm.blocks._kinds import LazyRows
from skmm.inputs._columns import AbsentColumn, Column, StreamedColumn, VectorColumns, Width
from skmm.inputs._lazy_columns import LazyColumn
from skmm.layers import Masks, Values


class Batches:
    """All modalities of some samples, from which batches on one device are cut by row numbers.

    Parameters
    ----------
    columns : dict of str to Column or Tensor
        Each modality's data; a tensor (n_samples, d) of vectors that all samples have.
    n_samples : int
        How many there are.
    device : torch.device
        Where the batches are.
    """

    # Numbers that one modality may take in a batch from which nothing is learned, filled up as it is; a single
    # sample may take more. In a network pictures and videos take many times their own memory.
    most_numbers: ClassVar[int] = 2**24

    def __init__(self, columns: dict[str, Column | Tensor], n_samples: int, device: torch.device) -> None:
        self.names = list(columns)
        self.columns = {name: c for name, c in columns.items() if not isinstance(c, Tensor)}
        vectors = {name: c for name, c in columns.items() if isinstance(c, Tensor)}
        self.vector_names = list(vectors)
        self.vectors = VectorColumns(list(vectors.values())) if vectors else None
        self.n_samples = n_samples
        self.device = device

    def __len__(self) -> int:
        return self.n_samples

    @property
    def lazy(self) -> bool:
        """Whether a modality is read when a batch needs it, so that no row should be cut oftener than needed."""
        return any(isinstance(column, LazyColumn) for column in self.columns.values())

    @property
    def stored(self) -> LazyRows | None:
        """A modality that is read lazily, one that says which rows lie together if there is such."""
        lazy = [column.block for column in self.columns.values() if isinstance(column, LazyColumn)]
        return next((block for block in lazy if block.runs is not None), lazy[0] if lazy else None)

    def order(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Positions among the rows, (n,), in a random order in which an epoch reads what is stored about once.

        Where a modality is read lazily and says which rows lie together, what lies together comes in a random
        order, and the rows are shuffled among as many of these as are held at a time; else all of them are.
        """
        order = torch.randperm(len(rows), generator=generator)
        stored = self.stored
        if stored is None or stored.runs is None:
            return order
        runs = stored.runs
        if runs.n_stretches > 1:
            places = torch.randperm(runs.n_stretches, generator=generator).numpy()
        else:
            places = np.zeros(1, dtype=np.int64)
        turns = runs.turns(stored.rows[rows.cpu().numpy()], places)
        return order[torch.from_numpy(np.argsort(turns[order.numpy()], kind="stable"))]

    def held(self, width: Width) -> list[int | np.ndarray]:
        """Numbers that a sample takes in a batch, by modality: of all, or of each (n,)."""
        columns: list[Any] = [*self.columns.values(), *([] if self.vectors is None else [self.vectors])]
        return [column.held(width) for column in columns]

    def parts(self, rows: Tensor, most: int, width: Width) -> list[Tensor]:
        """Positions among the rows, (n,) or (K, n), that go through a network together, at most so many.

        Cut by what they hold. Where samples differ in that, and are more than one batch, those that are alike go
        together, so that a long one fills up no others; what is read lazily goes as it is stored.
        """
        sizes = self.held(width)
        same = max([width.outputs, *(size for size in sizes if isinstance(size, int))])
        most = max(1, min(most, self.most_numbers // same))
        n = rows.shape[-1]
        differ = [size for size in sizes if not isinstance(size, int)]
        stored = self.stored
        if not differ and stored is None:
            return list(torch.arange(n).split(most))
        flat = rows.cpu().numpy().reshape(-1, n)
        lying = np.arange(n) if stored is None else np.argsort(stored.rows[flat[0]], kind="stable")
        if not differ:
            return list(torch.from_numpy(lying).split(most))
        each = np.stack([size[flat].max(axis=0) for size in differ])  # (M, n)
        if n <= most and each.max(initial=0) * n <= self.most_numbers:
            return [torch.arange(n)]
        order = lying if self.lazy else np.argsort(each.max(axis=0), kind="stable")
        found, start = [], 0
        while start < n:
            chosen = order[start : start + most]
            filled = np.maximum.accumulate(each[:, chosen], axis=1).max(axis=0) * np.arange(1, len(chosen) + 1)
            size = max(1, int(np.searchsorted(filled, self.most_numbers, side="right")))
            found.append(torch.from_numpy(chosen[:size]))
            start += size
        return found

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Values, Masks]]:
        """What :meth:`take` gives for each batch of rows in turn, what is read lazily being read ahead."""
        ahead = {
            n: c.stream(batches) for n, c in self.columns.items() if isinstance(c, (LazyColumn, StreamedColumn))
        }
        for rows in batches:
            yield self.take(rows, {name: next(batch) for name, batch in ahead.items()})

    def take(self, rows: Tensor, read: Mapping[str, Any] | None = None) -> tuple[Values, Masks]:
        """Values and masks of the rows; ``rows`` (B,) or (K, B), as the result's leading axes.

        What was ``read`` of modalities already is not cut again.
        """
        values: dict[str, Any] = dict.fromkeys(self.names)
        present: dict[str, Any] = dict.fromkeys(self.names)  # in the order of the modalities
        if self.vectors is not None:
            parts, mask = self.vectors.take(rows)
            for name, part in zip(self.vector_names, parts, strict=True):
                values[name], present[name] = part, mask
        absent = {name: c for name, c in self.columns.items() if isinstance(c, AbsentColumn)}
        for name, column in self.columns.items():
            if name not in absent:
                values[name], present[name] = read[name] if read and name in read else column.take(rows)
        for name, nothing in absent.items():
            steps = max((present[peer].shape[rows.ndim] for peer in nothing.peers), default=None)
            values[name], present[name] = nothing.take(rows, steps)
        return values, present


class ChangedBatches(Batches):
    """The samples of other batches, changed as they are cut."""

    def __init__(self, data: Batches, change: Callable[[Tensor, Values, Masks], tuple[Values, Masks]]) -> None:
        super().__init__({}, len(data), data.device)
        self.data, self.change = data, change

    @property
    def lazy(self) -> bool:
        return self.data.lazy

    @property
    def stored(self) -> LazyRows | None:
        return self.data.stored

    def held(self, width: Width) -> list[int | np.ndarray]:
        return self.data.held(width)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Values, Masks]]:
        for rows, (values, present) in zip(batches, self.data.stream(batches), strict=True):
            yield self.change(rows, values, present)
