"""What a block can be: arrays, samples of unequal length, rows that are read when they are needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm._parallel import Shared
from skmm.files._runs import Runs

# What a block can be. The kind decides which encoders can read it.
KINDS = {
    "vector": "a dense (n, d) array of numbers",
    "sparse": "a scipy CSR matrix (n, d)",
    "sequence": "a dense (n, time, d) array, or a list of (time, d) arrays of any length",
    "tokens": "a list of 1-D integer arrays of any length: ids, whose size means nothing",
    "image": "a (n, height, width, channels) array, or (n, height, width) of dtype uint8",
    "video": "a (n, time, height, width, channels) array",
}


@dataclass(frozen=True)
class BlockInfo:
    """What an encoder is told of its block.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    shape : tuple of int
        Shape of one sample; of one step for a sequence; ``(number of ids,)`` for tokens.
    length : int or None
        Number of steps, where all samples of a sequence have the same.
    n_components : int
        Size of the compressed copy that comes with a wide sparse block, 0 where there is none.
    source : str or None
        Of vectors that a frozen encoder made, the kind of the block that it read.
    """

    kind: str
    shape: tuple[int, ...]
    length: int | None = None
    n_components: int = 0
    source: str | None = None


class RaggedArray(Shared):
    """Samples of unequal length, stored end to end.

    Parameters
    ----------
    values : ndarray of shape (total_length, ...)
        All samples, one after the other.
    offsets : ndarray of shape (n_samples + 1,)
        Sample ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm.blocks import RaggedArray
    >>> r = RaggedArray.from_list([np.ones((2, 3)), np.zeros((4, 3))])
    >>> len(r), r.lengths.tolist(), r[1].shape
    (2, [2, 4], (4, 3))
    """

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values = values
        self.offsets = offsets

    @classmethod
    def from_list(cls, items: Iterable[Any]) -> RaggedArray:
        """Join a sequence of arrays; ``None`` becomes an empty sample, which in Blocks is a missing one."""
        arrays = [None if item is None else np.asarray(item) for item in items]
        scalar = next((i for i, a in enumerate(arrays) if a is not None and a.ndim == 0), None)
        if scalar is not None:
            raise ValueError(f"row {scalar} is the single value {arrays[scalar]}, expected a sequence")
        shapes = {a.shape[1:] for a in arrays if a is not None}
        if len(shapes) > 1:
            first = next(a.shape[1:] for a in arrays if a is not None)
            row, odd = next((i, a.shape) for i, a in enumerate(arrays) if a is not None and a.shape[1:] != first)
            raise ValueError(f"row {row} has shape {odd}, the rows before it (time, {', '.join(map(str, first))})")
        inner = shapes.pop() if shapes else (0,)
        lengths = [0 if a is None else len(a) for a in arrays]
        full = [a for a in arrays if a is not None]
        values = np.concatenate(full) if full else np.zeros((0, *inner), dtype=np.float32)
        return cls(values, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))

    @classmethod
    def from_padded(cls, values: np.ndarray, lengths: np.ndarray) -> RaggedArray:
        """Of samples filled up to one length, (n_samples, time, ...), the first steps of each."""
        kept = np.arange(values.shape[1]) < lengths[:, None]
        return cls(np.asarray(values)[kept], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sample, shape (n_samples,)."""
        return np.diff(self.offsets)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values."""
        return self.values.dtype

    @property
    def inner_shape(self) -> tuple[int, ...]:
        """Shape of one step, ``()`` for one number a step, as token ids have it."""
        return tuple(self.values.shape[1:])

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            start, stop = self.offsets[range(len(self))[rows]], self.offsets[range(len(self))[rows] + 1]
            return self.values[start:stop]
        rows = np.arange(len(self))[rows]
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # position of every kept step: its place inside its sample plus the sample's start
        steps = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return RaggedArray(self.values[steps], offsets)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def pad(self, length: int | None = None) -> np.ndarray:
        """Dense copy of shape (n_samples, length, ...), zeros after each sample's end."""
        length = int(self.lengths.max(initial=0)) if length is None else length
        out = np.zeros((len(self), length, *self.inner_shape), dtype=self.dtype)
        out[np.arange(length) < self.lengths[:, None]] = self.values
        return out

    def __repr__(self) -> str:
        return f"RaggedArray({len(self)} samples, inner shape {self.inner_shape}, {self.dtype})"


class StoredRows(ABC):
    """Rows of a table on disk as the base of a lazily read block of any form.

    Attributes
    ----------
    shape : tuple of int
        Number of rows, and the shape of one; nothing more where rows differ in length.
    dtype : dtype
        Type of the values.
    template : block or None
        A block without rows, of the form that the rows have; None for arrays.
    runs : Runs
        Which rows lie together.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    template: Block = None
    runs: Runs

    @abstractmethod
    def read(self, rows: np.ndarray) -> tuple[Block, np.ndarray]:
        """A block of the rows of these numbers, sorted and none of them twice, and which of them exist."""

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            return self.read(np.array([rows]))[0][0]
        return self.read(np.asarray(rows))[0]


class LazyRows(Shared):
    """Rows of an array-like that is only read when a batch needs it.

    Parameters
    ----------
    base : array-like of shape (n_rows, ...)
        What is read, by its rows.
    rows : ndarray of int, shape (n_samples,)
        Number of each sample in it; selecting samples selects of these and reads nothing.
    warned_of : set of str, optional
        What reading warned of already.
    """

    def __init__(self, base: Any, rows: np.ndarray, warned_of: set[str] | None = None) -> None:
        self.base, self.rows = base, rows
        self.shape = (len(rows), *base.shape[1:])
        self.dtype = native(base.dtype)
        self.template: Block = getattr(base, "template", None)
        self.runs: Runs | None = getattr(base, "runs", None)
        # what reading in other processes warned of, shared by all selections of rows
        self.warned_of: set[str] = set() if warned_of is None else warned_of

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            return np.asarray(self.base[int(self.rows[rows])], dtype=self.dtype)
        return LazyRows(self.base, self.rows[rows], self.warned_of)

    def read(self, rows: np.ndarray) -> tuple[Block, np.ndarray]:
        """The rows of these numbers, and which of them exist: one that is masked whole is missing."""
        if len(rows) == 0:
            nothing = np.empty((0, *self.shape[1:]), self.dtype) if self.template is None else self.template
            return nothing, np.zeros(0, dtype=bool)
        # sorted unique reads: what HDF5 asks for, and the fastest order on disk
        unique, inverse = np.unique(self.rows[rows], return_inverse=True)
        if isinstance(self.base, StoredRows):
            block, exists = self.base.read(unique)
            in_order = len(unique) == len(rows) and bool((inverse[1:] > inverse[:-1]).all())
            return (block, exists) if in_order else (block[inverse], exists[inverse])
        found = self.base[unique]
        masked = isinstance(found, np.ma.MaskedArray)
        exists = unmasked(found, unique) if masked else np.ones(len(unique), dtype=bool)
        return np.asarray(found, dtype=self.dtype)[inverse], exists[inverse]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        values = self.read(np.arange(len(self)))[0]
        if not isinstance(values, np.ndarray):
            raise TypeError(f"samples of a lazily read {block_kind(self)} block make no array.")
        return values.astype(dtype or self.dtype, copy=False)


def unmasked(array: np.ma.MaskedArray, rows: np.ndarray) -> np.ndarray:
    """Rows of a masked array that are not masked, shape (n_samples,); ``rows`` are their numbers in messages.

    Raises
    ------
    ValueError
        If some, but not all values of a row are masked.
    """
    hidden = np.ma.getmaskarray(array).reshape(len(array), -1) if array.ndim else np.zeros((0, 0), bool)
    partly = np.flatnonzero(hidden.any(axis=1) & ~hidden.all(axis=1))
    if len(partly):
        raise ValueError(
            f"row {rows[partly[0]]}: {hidden[partly[0]].sum()} of {hidden.shape[1]} values are masked. A sample "
            "lacks a modality where all its values are masked; fill gaps first."
        )
    return np.any(~hidden, axis=1)


def native(dtype: Any) -> np.dtype:
    """The type in which numbers of a type are read: in this machine's byte order, and of no more than 64 bits."""
    dtype = np.dtype(dtype)
    wide = dtype.kind == "f" and dtype.itemsize > 8
    return np.dtype(np.float64) if wide else dtype.newbyteorder("=")


# ndarray, scipy CSR, RaggedArray or LazyRows; scipy has no types to name it by
Block = Any


def is_lazy(block: Block) -> bool:
    """Whether a block is read batch by batch."""
    return isinstance(block, LazyRows)


def block_kind(block: Block) -> str:
    """Name the kind of a block, one of ``KINDS``."""
    if is_lazy(block) and block.template is not None:
        return block_kind(block.template)
    if sp.issparse(block):
        return "sparse"
    if isinstance(block, RaggedArray):
        return samples_kind(block.dtype, block.inner_shape)
    ndim = len(block.shape)
    if ndim == 3 and block.dtype == np.uint8:
        return "image"
    return {2: "vector", 3: "sequence", 4: "image", 5: "video"}[ndim]


def samples_kind(dtype: Any, step_shape: tuple[int, ...]) -> str:
    """Whether a list of arrays, whatever their lengths, holds ``"tokens"`` or a ``"sequence"``.

    Whole numbers, one a step, are ids of tokens, whatever integer type they have: what they are is nowhere to be
    seen, and ids are by far the more frequent. Anything else is a sequence. To an encoder that is named and reads
    sequences, but no tokens, whole numbers are a sequence of one number a step (:func:`as_kind`).

    Parameters
    ----------
    dtype : dtype
        The type that all arrays have in common.
    step_shape : tuple of int
        The shape of one step, ``array.shape[1:]``.
    """
    return "tokens" if not step_shape and np.issubdtype(dtype, np.integer) else "sequence"


def sample_shape(block: Block) -> tuple[int, ...]:
    """Shape of one sample; for a sequence only that of one step, since lengths may differ."""
    kind = block_kind(block)
    if kind == "tokens":
        return ()
    if is_lazy(block) and block.template is not None:
        block = block.template
    if isinstance(block, RaggedArray):
        return block.inner_shape or (1,)
    return tuple(block.shape[2:] if kind == "sequence" else block.shape[1:])


def spread(block: Block, rows: np.ndarray, n_samples: int) -> Block:
    """Put samples into the rows where they belong; the other rows are empty, NaN, or zero in integers."""
    if len(rows) == n_samples:
        return block
    if isinstance(block, RaggedArray):
        return RaggedArray(block.values, _spread_offsets(block.offsets, rows, n_samples))
    if sp.issparse(block):
        indptr = _spread_offsets(block.indptr, rows, n_samples)
        return type(block)((block.data, block.indices, indptr), shape=(n_samples, block.shape[1]))
    if is_lazy(block):  # rows that are missing are never read, whatever they point to
        places = np.zeros(n_samples, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        return block[places]
    fill = np.nan if block.dtype.kind == "f" else 0
    full = np.full((n_samples, *block.shape[1:]), fill, dtype=block.dtype)
    full[rows] = block
    return full


def side_by_side(parts: Sequence[Any], dtype: Any = None) -> Any:
    """Tables joined by their columns: an array, or CSR where one is sparse, its indices of 32 bits if they suffice.

    Much of scikit-learn, its trees among them, takes no others.
    """
    if not any(map(sp.issparse, parts)):
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    joined = sp.csr_array(parts[0] if len(parts) == 1 else sp.hstack(parts, format="csr", dtype=dtype))
    if max(joined.nnz, joined.shape[1]) <= np.iinfo(np.int32).max:
        joined.indices, joined.indptr = (x.astype(np.int32, copy=False) for x in (joined.indices, joined.indptr))
    return joined


def _spread_offsets(offsets: np.ndarray, rows: np.ndarray, n_samples: int) -> np.ndarray:
    lengths = np.zeros(n_samples, dtype=np.int64)
    lengths[rows] = np.diff(offsets)
    return np.concatenate([[0], np.cumsum(lengths)])


def as_kind(block: Block, wanted: tuple[str, ...]) -> Block:
    """A block as one of the kinds wanted, where the two differ in form alone."""
    kind = block_kind(block)
    if kind in wanted or is_lazy(block):
        return block
    if isinstance(block, RaggedArray):
        array = _as_array(block)
        if block_kind(array) in wanted:
            return array
        if kind == "tokens" and "sequence" in wanted:  # of one number a step, in a type that holds them all
            return RaggedArray(block.values.astype(np.result_type(block.dtype, np.float32)), block.offsets)
        return block
    if kind == "sparse":
        return block.toarray() if "vector" in wanted else block
    if kind == "vector" and "sparse" in wanted:
        return sp.csr_array(block)
    if kind == "vector" and "tokens" in wanted and block.dtype.kind in "iu":
        n, length = block.shape
        return RaggedArray(block.reshape(-1), np.arange(n + 1, dtype=np.int64) * length)
    if kind == "vector" and "sequence" in wanted:
        return block[:, :, None]
    if kind == "sequence" and "image" in wanted:
        return block[:, :, :, None]
    if kind == "image" and "sequence" in wanted and block.ndim == 3:
        return block.astype(np.float32)
    return block


def _as_array(block: RaggedArray) -> Block:
    """A list of arrays of one length as one array, the samples without values missing; any other as it is."""
    rows = np.flatnonzero(block.lengths)
    lengths = np.unique(block.lengths[rows])
    if len(lengths) != 1 or len(block.inner_shape) > 3:  # no kind of array has more axes
        return block
    return spread(block.values.reshape(len(rows), lengths[0], *block.inner_shape), rows, len(block))


def is_list_of_none(block: Block, present: np.ndarray) -> bool:
    """Whether a block is what becomes of ``[None, None]``, from which nobody knows what the samples would be."""
    if present.any() or sp.issparse(block) or is_lazy(block):
        return False
    return len(block.values) == 0 if isinstance(block, RaggedArray) else block.shape[1:] == (1,)


def all_nan(block: Block) -> np.ndarray:
    """Rows whose every value is NaN, shape (n_samples,)."""
    n = block.shape[0] if not isinstance(block, RaggedArray) else len(block)
    none = np.zeros(n, dtype=bool)
    if is_lazy(block) or block.dtype.kind != "f":
        return none
    if isinstance(block, RaggedArray) or sp.issparse(block):
        values = block.values if isinstance(block, RaggedArray) else block.data
        starts = np.asarray(block.offsets if isinstance(block, RaggedArray) else block.indptr)
        nan = np.isnan(values).all(axis=tuple(range(1, values.ndim)))
        if not nan.any():
            return none
        counts = np.concatenate([[0], np.cumsum(nan)])
        stored = np.diff(starts)
        return (stored > 0) & (counts[starts[1:]] - counts[starts[:-1]] == stored)
    if 0 in block.shape:
        return none
    flat = block.reshape(n, -1)
    candidates = np.flatnonzero(np.isnan(flat[:, 0]))  # the first value decides nearly every row
    none[candidates] = np.isnan(flat[candidates]).all(axis=1)
    return none


def last_steps(filled: np.ndarray) -> np.ndarray:
    """Number of the last step that is filled, counted from 1, of each sample: (n, time) -> (n,)."""
    return (filled * np.arange(1, filled.shape[1] + 1)).max(axis=1, initial=0)
