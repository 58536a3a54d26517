"""The data of a fit on its device, and how batches are cut from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from skmm._private import tree_map
from skmm.blocks._blocks import Block, BlockInfo, block_kind
from skmm.blocks._prefetch import Read, read_ahead
from skmm.inputs._scaling import Scaler, scaled
from skmm.layers import Masks, SparseRows, Values

# Numbers that one modality may take in a batch from which nothing is learned, filled up as it is; a single sample
# may take more. In a network pictures and videos take many times their own memory.
_NUMBERS = 2**24


class Column(Protocol):
    """One modality's data, ready to be cut into batches by row numbers of any shape."""

    def take(self, rows: Tensor) -> tuple[Any, Tensor]: ...

    def held(self, width: Width) -> int | np.ndarray:
        """Numbers that a sample takes in a batch, of all or of each (n,): those of a batch are filled up."""


def like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask over the first axes of x, with further axes of size 1."""
    return mask.view(*mask.shape, *[1] * (x.ndim - mask.ndim))


class VectorColumns:
    """Vectors that every sample has, side by side in one tensor: one read serves all these modalities."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.data = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        self.sizes = [part.shape[1] for part in parts]
        self.true = torch.ones((), dtype=torch.bool, device=self.data.device)

    def take(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        return take_rows(self.data, rows).split(self.sizes, -1), self.true.expand(rows.shape)

    def held(self, width: Width) -> int:
        return self.data.shape[1]


def take_rows(data: Tensor, rows: Tensor) -> Tensor:
    """``data[rows]`` for rows of any shape, by the faster of torch's ways."""
    if rows.ndim == 1:
        return data.index_select(0, rows)
    return data.index_select(0, rows.reshape(-1)).view(*rows.shape, *data.shape[1:])


class DenseColumn:
    """Samples of one shape, scaled already, or ``raw`` as they came: then they are scaled when a batch is cut."""

    def __init__(
        self,
        data: Tensor,
        present: Tensor | None,
        scaler: Scaler | None,
        dtype: torch.dtype,
        *,
        sequence: bool,
        raw: bool,
    ) -> None:
        self.data, self.present, self.scaler, self.dtype = data, present, scaler, dtype
        self.sequence, self.raw = sequence, raw
        self.true = torch.ones((), dtype=torch.bool, device=data.device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = take_rows(self.data, rows)
        mask = self.true.expand(rows.shape) if self.present is None else take_rows(self.present, rows)
        if self.raw:
            x = self._scaled(x, rows)
            if self.present is not None:
                x = torch.where(like(mask, x), x, 0.0)
        if self.sequence:
            mask = mask.unsqueeze(-1).expand(*rows.shape, x.shape[rows.ndim])
        return x, mask

    def held(self, width: Width) -> int:
        shape = self.data.shape[1:]
        return int(width.of_steps(shape[0], math.prod(shape[1:]))) if self.sequence else math.prod(shape)

    def _scaled(self, x: Tensor, rows: Tensor) -> Tensor:
        """Raw values of the rows as the network reads them."""
        return scaled(x, self.scaler, self.dtype)


class RaggedColumn:
    """Samples of different lengths, filled up with zeros to the longest of the batch."""

    def __init__(self, values: Tensor, offsets: Tensor) -> None:
        # one step at least, which no sample has: places that are filled up need something to read
        self.values = values if len(values) else values.new_zeros(1, *values.shape[1:])
        self.starts, self.lengths = offsets[:-1], offsets.diff()

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        step = torch.arange(max(1, int(lengths.max())), device=rows.device)
        mask = step < lengths.unsqueeze(-1)
        x = self.values[torch.where(mask, self.starts[rows].unsqueeze(-1) + step, 0)]
        return torch.where(like(mask, x), x, 0), mask

    def held(self, width: Width) -> np.ndarray:
        return width.of_steps(self.lengths.cpu().numpy(), math.prod(self.values.shape[1:]))


class SparseColumn:
    """Rows of a CSR matrix, filled up with zeros to the one that stores most."""

    def __init__(
        self, columns: Tensor, weights: Tensor, offsets: Tensor, compressed: Tensor, present: Tensor
    ) -> None:
        self.columns, self.weights = RaggedColumn(columns, offsets), RaggedColumn(weights, offsets)
        self.compressed, self.present = compressed, present

    def take(self, rows: Tensor) -> tuple[SparseRows, Tensor]:
        columns = self.columns.take(rows)[0].long()
        stored = SparseRows(columns, self.weights.take(rows)[0], take_rows(self.compressed, rows))
        return stored, take_rows(self.present, rows)

    def held(self, width: Width) -> np.ndarray:
        # where they are, which takes twice as much as a number, and what they are
        return np.maximum(3 * width.members * self.columns.lengths.cpu().numpy(), self.compressed.shape[1])


class LazyColumn:
    """Samples that are read when a batch needs them, or ahead of it."""

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
        shape = self.block.shape[1:]
        return int(width.of_steps(shape[0], math.prod(shape[1:]))) if self.sequence else math.prod(shape)

    def _finish(self, rows: Tensor, mask: Tensor, numbers: np.ndarray, read: Read) -> tuple[Tensor, Tensor]:
        """A batch of the rows, of which those of ``mask``, with these numbers, were read."""
        values, exists = read
        x = torch.from_numpy(values).to(rows.device)
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
            full[mask] = torch.where(like(found, x), x, 0.0)
            mask = mask.masked_scatter(mask, found)
            x = full
        x, mask = x.reshape(*rows.shape, *x.shape[1:]), mask.reshape(rows.shape)
        if self.sequence:
            mask = mask.unsqueeze(-1).expand(*rows.shape, x.shape[rows.ndim])
        return x, mask


class StreamedColumn:
    """A column that stays in the memory of the host; each batch is copied to the device when it is needed."""

    def __init__(self, column: Column, device: torch.device) -> None:
        self.column, self.device = column, device

    def take(self, rows: Tensor) -> tuple[Any, Tensor]:
        return next(self.stream([rows]))

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Any, Tensor]]:
        """What ``take`` gives for each batch in turn."""
        # all row numbers come over before the first batch: none then waits for what the device still has to do
        for rows in [rows.cpu() for rows in batches]:
            yield tree_map(self._copy, self.column.take(rows))

    def held(self, width: Width) -> int | np.ndarray:
        return self.column.held(width)

    def _copy(self, x: Tensor) -> Tensor:
        if self.device.type == "cuda":
            x = x.contiguous().pin_memory()  # from pinned memory a copy goes on beside the device's work
        return x.to(self.device, non_blocking=True)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the modality in whatever its block raises."""
    try:
        yield
    except Exception as error:
        error.add_note(f"Raised in modality {name!r}, while its block was read.")
        raise


class AbsentColumn:
    """A modality that no sample has: zeros, made when a batch is cut.

    Parameters
    ----------
    info : BlockInfo
        What was fitted.
    dtype : torch.dtype
        Of the batches.
    device : torch.device
        Where to make them.
    peers : sequence of str
        Sequences that were as long as this one in fit: it is as long as they are now.
    """

    def __init__(
        self, info: BlockInfo, dtype: torch.dtype, device: torch.device, peers: Sequence[str] = ()
    ) -> None:
        self.info, self.device, self.peers = info, device, tuple(peers)
        self.dtype = torch.int64 if info.kind == "tokens" else dtype

    def take(self, rows: Tensor, steps: int | None = None) -> tuple[Any, Tensor]:
        """Zeros for the rows, of so many steps; of as many as in fit where nothing is said."""

        def zeros(*shape: int, dtype: torch.dtype = self.dtype) -> Tensor:
            return torch.zeros(*rows.shape, *shape, dtype=dtype, device=self.device)

        time = (steps or self.info.length or 1,) if self.info.kind in ("sequence", "tokens") else ()
        mask = zeros(*time, dtype=torch.bool)
        if self.info.kind == "sparse":
            return SparseRows(zeros(1, dtype=torch.int64), zeros(1), zeros(self.info.n_components)), mask
        return zeros(*time, *(() if self.info.kind == "tokens" else self.info.shape)), mask

    def held(self, width: Width) -> int:
        if self.info.kind == "sparse":
            return max(1, self.info.n_components)
        inner = 1 if self.info.kind == "tokens" else math.prod(self.info.shape)
        steps = self.info.kind in ("sequence", "tokens")
        return int(width.of_steps(self.info.length or 1, inner)) if steps else inner


class Batches:
    """All modalities of some samples, from which batches on one device are cut by row numbers."""

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

    def held(self, width: Width) -> list[int | np.ndarray]:
        """Numbers that a sample takes in a batch, by modality: of all, or of each (n,)."""
        columns: list[Any] = [*self.columns.values(), *([] if self.vectors is None else [self.vectors])]
        return [column.held(width) for column in columns]

    def parts(self, rows: Tensor, most: int, width: Width) -> list[Tensor]:
        """Positions among the rows, (n,) or (K, n), that go through a network together, at most so many.

        Cut by what they hold. Where samples differ in that, and are more than one batch, those that are alike go
        together, so that a long one fills up no others; what is read lazily stays in order.
        """
        sizes = self.held(width)
        same = max([width.outputs, *(size for size in sizes if isinstance(size, int))])
        most = max(1, min(most, _NUMBERS // same))
        n = rows.shape[-1]
        differ = [size for size in sizes if not isinstance(size, int)]
        if not differ:
            return list(torch.arange(n).split(most))
        flat = rows.cpu().numpy().reshape(-1, n)
        each = np.stack([size[flat].max(axis=0) for size in differ])  # (M, n)
        if n <= most and each.max(initial=0) * n <= _NUMBERS:
            return [torch.arange(n)]
        order = np.arange(n) if self.lazy else np.argsort(each.max(axis=0), kind="stable")
        found, start = [], 0
        while start < n:
            chosen = order[start : start + most]
            filled = np.maximum.accumulate(each[:, chosen], axis=1).max(axis=0) * np.arange(1, len(chosen) + 1)
            size = max(1, int(np.searchsorted(filled, _NUMBERS, side="right")))
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

    def held(self, width: Width) -> list[int | np.ndarray]:
        return self.data.held(width)

    def stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Values, Masks]]:
        for rows, (values, present) in zip(batches, self.data.stream(batches), strict=True):
            yield self.change(rows, values, present)


# Type of a network's arithmetic -> that of arrays.
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class _Borrowed:
    """Memory of an array as if it could be written to."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # which keeps the memory
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def shared(array: np.ndarray) -> Tensor:
    """A tensor of an array, in its memory where torch can: for what is read, and never written to.

    torch knows no tensors that are only read, and warns where it makes one of such an array, a memory map say.
    """
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Borrowed(array)))


def _scaled(array: np.ndarray, scaler: Scaler | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A block on the device, standardised."""
    wide = scaler is not None and np.result_type(np.float32, array.dtype) == np.float64
    return scaled(_tensor(array, torch.float64 if wide else dtype).to(device), scaler, dtype)


def _tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """A new tensor, never one that shares the user's memory."""
    return torch.from_numpy(np.array(array, dtype=_NUMPY[dtype], order="C", copy=True))


class Width(NamedTuple):
    """What a network makes of an input, in numbers: where that is more, a batch takes this in memory.

    Attributes
    ----------
    members : int
        Networks that run at once.
    step : int
        Numbers that they make of each step of a sequence.
    heads : int
        Weights that they make of each pair of steps.
    outputs : int
        Numbers that they say of a sample.
    """

    members: int = 1
    step: int = 0
    heads: int = 0
    outputs: int = 1

    def of_steps(self, steps: Any, inner: int) -> Any:
        """Numbers of so many steps, an int or an array of them; ``inner`` is what a step has itself."""
        return steps * np.maximum(max(inner, self.step), self.heads * steps)

    @classmethod
    def of(cls, network: Any, n_members: int, *, at_once: bool) -> Width:
        """That of networks of one shape."""
        members = n_members if at_once else 1
        layers: list[Any] = [layer for encoder in network.encoders for layer in encoder.modules()]
        sizes = (
            getattr(layer, name, 0) for layer in layers for name in ("out_features", "out_channels", "out_dim")
        )
        heads = max((getattr(layer, "n_heads", 0) for layer in network.modules()), default=0)
        outputs = 2 * n_members * network.n_outputs * (1 + len(network.modality_heads))  # twice, as float64
        return cls(members, members * max(sizes, default=0), members * heads, outputs)
