"""One modality's data on a device: how it is made from its block, and cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skmm._private import tree_map
from skmm.blocks import Block, BlockInfo, RaggedArray, block_kind
from skmm.inputs._scaling import Projection, Scaler, scaled
from skmm.layers import SparseRows, with_axes_of

# Type of a network's arithmetic -> that of arrays.
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class Column(Protocol):
    """One modality's data, ready to be cut into batches by row numbers of any shape."""

    def take(self, rows: Tensor) -> tuple[Any, Tensor]:
        """The batch of some rows, and what of it exists.

        Parameters
        ----------
        rows : Tensor of int, shape (B,) or (K, B)
            Numbers of rows, for K members each its own; on the column's device, any row any number of times.

        Returns
        -------
        values : Tensor of shape (*rows.shape, *sample_shape) or SparseRows
            As the network reads them: scaled, 0 where nothing exists, in the precision of the fit (of pictures in
            whole numbers too), token ids int64. A sequence is (*rows.shape, T, *step_shape), T the length of all or
            of the longest among the rows, 1 at least. New tensors, none of which the column keeps. Vectors side by
            side (:class:`VectorColumns`) are a tuple of such.
        mask : Tensor of bool
            Which rows exist, (*rows.shape); of a sequence or tokens which steps, (*rows.shape, T). It may be a view
            of less, and is never written to.
        """

    def held(self, width: Width) -> int | np.ndarray:
        """Numbers that a sample takes in a batch, of all or of each (n,): those of a batch are filled up."""


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

    def of_sample(self, shape: Sequence[int], sequence: bool) -> int:
        """Numbers of a sample of a shape, whose first axis is time if it is a sequence."""
        return int(self.of_steps(shape[0], math.prod(shape[1:]))) if sequence else math.prod(shape)

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


@dataclass(frozen=True)
class Learned:
    """What a fit learned of one modality, with which its columns are made.

    Attributes
    ----------
    name : str
        The modality.
    info : BlockInfo
        The block as the network reads it.
    scaler : Scaler or None
        None where values are read as they come.
    projection : Projection or None
        Of a wide sparse block.
    ids : ndarray of int or None
        Token ids of training in order, where the network knows them by their place.
    n_jobs : int or None
        Processes that read a lazy block.
    """

    name: str
    info: BlockInfo
    scaler: Scaler | None
    projection: Projection | None = None
    ids: np.ndarray | None = None
    n_jobs: int | None = None

    def numbered(self, ids: np.ndarray) -> np.ndarray:
        """Token ids as the network reads them: by their place among those of training, all others as the number
        that follows."""
        if self.ids is None:
            return ids
        places = np.searchsorted(self.ids, ids)
        new = places == len(self.ids)
        new[~new] = self.ids[places[~new]] != ids[~new]
        return np.where(new, self.info.shape[0], places)


class Destination(NamedTuple):
    """Where the data of a fit goes, in which precision, and whether it is read once alone."""

    dtype: torch.dtype
    device: torch.device
    once: bool = False


@singledispatch
def make_column(block: Block, present: np.ndarray, learned: Learned, destination: Destination) -> Column | Tensor:
    """The column of a converted block, of the form that the block has.

    Parameters
    ----------
    block : Block
        Samples of one modality, of the kind that was fitted.
    present : ndarray of bool, shape (n_samples,)
        Which of them exist.
    learned : Learned
        What the fit knows of the modality.
    destination : Destination
        Where to. What is read ``once`` is scaled when its batch is cut, so that there is no second copy of it all.

    Returns
    -------
    Column, or a Tensor of shape (n_samples, d)
        A tensor of vectors that every sample has, which can stand side by side with others.
    """
    raise TypeError(f"{type(block).__name__} is no block.")


@singledispatch
def n_bytes(block: Block, dtype: torch.dtype) -> int:
    """What the column of a block takes in memory, in batches of a type; nothing if it is read lazily."""
    raise TypeError(f"{type(block).__name__} is no block.")


def as_ids(values: np.ndarray) -> np.ndarray:
    """Token ids in torch's type; those beyond it wrap around, each to a number of its own below 0."""
    return values.astype(np.int64)


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


def _standardised(array: np.ndarray, scaler: Scaler | None, destination: Destination) -> Tensor:
    """A copy of a block on the device, standardised."""
    wide = scaler is not None and np.result_type(np.float32, array.dtype) == np.float64
    return scaled(
        _tensor(array, torch.float64 if wide else destination.dtype).to(destination.device),
        scaler,
        destination.dtype,
    )


def _tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """A new tensor, never one that shares the user's memory."""
    return torch.from_numpy(np.array(array, dtype=_NUMPY[dtype], order="C", copy=True))


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


def over_steps(mask: Tensor, x: Tensor) -> Tensor:
    """A mask of rows as one of their steps: (*rows) and (*rows, T, ...) -> (*rows, T)."""
    return mask.unsqueeze(-1).expand(*mask.shape, x.shape[mask.ndim])


class DenseColumn:
    """Samples of one shape, scaled already, or ``raw``, as they came: then they are scaled when a batch is cut.

    Parameters
    ----------
    data : Tensor of shape (n_samples, *sample_shape)
        In ``dtype``, 0 where a sample is missing; where ``raw``, of any type and content.
    present : Tensor of bool, shape (n_samples,), or None
        Which samples exist; None if all do.
    scaler : Scaler or None
        What is applied where ``raw``.
    dtype : torch.dtype
        Of the batches.
    sequence : bool
        Whether the first axis of a sample is time, and masks are of steps.
    raw : bool
        Whether the data are not scaled yet.
    """

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
            x = self.standardise(x, rows)
            if self.present is not None:
                x = torch.where(with_axes_of(mask, x), x, 0.0)
        if self.sequence:
            mask = over_steps(mask, x)
        return x, mask

    def held(self, width: Width) -> int:
        return width.of_sample(self.data.shape[1:], self.sequence)

    def standardise(self, x: Tensor, rows: Tensor) -> Tensor:
        """Raw values of the rows as the network reads them."""
        return scaled(x, self.scaler, self.dtype)


def _stays_whole(block: np.ndarray, kind: str) -> bool:
    """Whether whole numbers are kept as they are, which takes less: those of pictures."""
    return block.dtype.kind != "f" and kind in ("image", "video")


@make_column.register
def _(block: np.ndarray, present: np.ndarray, learned: Learned, destination: Destination) -> Column | Tensor:
    kind, scaler = learned.info.kind, learned.scaler
    exists = None if present.all() else shared(present).to(destination.device)
    raw = _stays_whole(block, kind) or (destination.once and block.dtype in _NUMPY.values())
    if raw:
        data = shared(block).to(destination.device)
    else:
        data = _standardised(block, scaler, destination)
        if exists is not None:
            data = torch.where(with_axes_of(exists, data), data, 0.0)
        elif kind == "vector":
            return data
    return DenseColumn(data, exists, scaler, destination.dtype, sequence=kind == "sequence", raw=raw)


@n_bytes.register
def _(block: np.ndarray, dtype: torch.dtype) -> int:
    return block.size * (block.dtype if _stays_whole(block, block_kind(block)) else dtype).itemsize


class RaggedColumn:
    """Samples of different lengths, filled up with zeros to the longest of the batch.

    Parameters
    ----------
    values : Tensor of shape (total_length, *step_shape)
        All samples, one after the other.
    offsets : Tensor of int, shape (n_samples + 1,)
        Where each of them starts.
    """

    def __init__(self, values: Tensor, offsets: Tensor) -> None:
        # one step at least, which no sample has: places that are filled up need something to read
        self.values = values if len(values) else values.new_zeros(1, *values.shape[1:])
        self.starts, self.lengths = offsets[:-1], offsets.diff()

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        step = torch.arange(max(1, int(lengths.max())), device=rows.device)
        mask = step < lengths.unsqueeze(-1)
        x = self.values[torch.where(mask, self.starts[rows].unsqueeze(-1) + step, 0)]
        return torch.where(with_axes_of(mask, x), x, 0), mask

    def held(self, width: Width) -> np.ndarray:
        return width.of_steps(self.lengths.cpu().numpy(), math.prod(self.values.shape[1:]))


@make_column.register
def _(block: RaggedArray, present: np.ndarray, learned: Learned, destination: Destination) -> RaggedColumn:
    if not present.all():  # a sample marked missing has no steps
        kept = np.where(present, block.lengths, 0)
        block = RaggedArray(block.values[np.repeat(present, block.lengths)], np.concatenate([[0], np.cumsum(kept)]))
    values, offsets = block.values, shared(block.offsets).to(destination.device)
    if learned.info.kind == "tokens":
        return RaggedColumn(torch.from_numpy(learned.numbered(as_ids(values))).to(destination.device), offsets)
    values = values if values.ndim > 1 else values[:, None]
    return RaggedColumn(_standardised(values, learned.scaler, destination), offsets)


@n_bytes.register
def _(block: RaggedArray, dtype: torch.dtype) -> int:
    # token ids become torch's numbers of rows
    return block.values.size * (torch.int64 if block_kind(block) == "tokens" else dtype).itemsize


class SparseColumn:
    """Rows of a CSR matrix, filled up with zeros to the one that stores most.

    Parameters
    ----------
    indices : Tensor of int, shape (n_stored,)
        Which feature each stored value is of.
    weights : Tensor of shape (n_stored,)
        The values, scaled.
    offsets : Tensor of int, shape (n_samples + 1,)
        Where each row starts.
    compressed : Tensor of shape (n_samples, n_components)
        Their dense copy of few columns; n_components is 0 where there is none.
    present : Tensor of bool, shape (n_samples,)
        Which rows exist.
    """

    def __init__(
        self, indices: Tensor, weights: Tensor, offsets: Tensor, compressed: Tensor, present: Tensor
    ) -> None:
        self.indices, self.weights = RaggedColumn(indices, offsets), RaggedColumn(weights, offsets)
        self.compressed, self.present = compressed, present

    def take(self, rows: Tensor) -> tuple[SparseRows, Tensor]:
        indices = self.indices.take(rows)[0].long()
        stored = SparseRows(indices, self.weights.take(rows)[0], take_rows(self.compressed, rows))
        return stored, take_rows(self.present, rows)

    def held(self, width: Width) -> np.ndarray:
        # where they are, which takes twice as much as a number, and what they are
        return np.maximum(3 * width.members * self.indices.lengths.cpu().numpy(), self.compressed.shape[1])


@make_column.register(sp.csr_array)
@make_column.register(sp.csr_matrix)
def _(block: Any, present: np.ndarray, learned: Learned, destination: Destination) -> SparseColumn:
    # a matrix may be as large as memory allows: what need not change is not copied
    stored, scaler, device = block.data, learned.scaler, destination.device
    if not present.all():
        stored = np.where(np.repeat(present, np.diff(block.indptr)), stored, 0)
    if scaler is not None:
        out = np.empty(stored.shape, np.result_type(stored, np.float32))
        stored = np.divide(stored, scaler.scale[0], out=out, casting="same_kind")
    weights = shared(stored.astype(_NUMPY[destination.dtype], copy=False)).to(device)
    indices = shared(block.indices).to(device)
    offsets = torch.from_numpy(block.indptr.astype(np.int64)).to(device)
    compressed = np.zeros((len(present), 0)) if learned.projection is None else learned.projection.apply(block)
    compressed = np.where(present[:, None], compressed, 0.0)
    exists = shared(present).to(device)
    return SparseColumn(indices, weights, offsets, _tensor(compressed, destination.dtype).to(device), exists)


@n_bytes.register(sp.csr_array)
@n_bytes.register(sp.csr_matrix)
def _(block: Any, dtype: torch.dtype) -> int:
    return block.nnz * (dtype.itemsize + block.indices.dtype.itemsize)


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
