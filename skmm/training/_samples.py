"""Which samples train, with which weight, in which order, and which are held out."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from functools import singledispatch
from typing import Any

import joblib
import numpy as np
import scipy.sparse as sp

from skmm._missing import is_missing
from skmm._private import safe_indexing
from skmm.blocks import Blocks
from skmm.blocks._blocks import Block, RaggedArray, is_lazy
from skmm.columns._cells import as_array

_PROBES = 16  # values of a block that the first look at a sample reads
_SPARSE_ROWS = 8192  # of a sparse block that are looked at together: their words take more memory than they do
_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mix(w: np.ndarray) -> np.ndarray:
    """Spread every bit over the whole word: the finaliser of splitmix64 (Steele et al. 2014)."""
    w = (w ^ (w >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    w = (w ^ (w >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return w ^ (w >> np.uint64(31))


def _words(x: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A random-looking 64-bit word per number and place; equal numbers give equal words whatever their type.

    The place goes into the mixing: words times places would give sums that often agree for small integers.
    """
    numbers = np.ascontiguousarray(x, dtype=np.float64) + 0.0  # -0.0 equals 0.0
    words = numbers.view(np.uint64) + _places(place)
    if x.dtype.kind in "iu" and x.dtype.itemsize == 8:  # ids beyond 2^53 are told apart by what a float loses
        with np.errstate(invalid="ignore"):
            lost = x.astype(np.uint64) - numbers.astype(x.dtype).astype(np.uint64)
        words = words + _mix(lost)
    return _mix(words)


def _places(index: np.ndarray) -> np.ndarray:
    """Where each position starts."""
    return (index.astype(np.uint64) + np.uint64(1)) * _ODD


def _sparse_keys(rows: sp.csr_array) -> np.ndarray:
    words = _words(np.where(np.isnan(rows.data), 0.0, rows.data), rows.indices)
    words[rows.data == 0] = 0  # a stored zero is no entry
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
    return sums[rows.indptr[1:]] - sums[rows.indptr[:-1]]


@singledispatch
def _block_keys(block: Block, full: bool) -> np.ndarray:
    """A 64-bit key per sample, of a first look or of the whole of it.

    Sums modulo 2^64 do not depend on their order, so equal samples get equal keys.
    """
    raise TypeError(f"{type(block).__name__} has no content that is known.")


@_block_keys.register
def _(block: np.ndarray, full: bool) -> np.ndarray:
    flat = block.reshape(len(block), -1)
    columns = np.arange(flat.shape[1])
    if not full and len(columns) > _PROBES:
        columns = np.linspace(0, len(columns) - 1, _PROBES).astype(np.intp)
    return _words(flat[:, columns], columns).sum(axis=1, dtype=np.uint64)


@_block_keys.register(sp.csr_array)
@_block_keys.register(sp.csr_matrix)
def _(block: Any, full: bool) -> np.ndarray:
    block = sp.csr_array(block)
    parts = (block[start : start + _SPARSE_ROWS] for start in range(0, block.shape[0], _SPARSE_ROWS))
    return np.concatenate([_sparse_keys(part) for part in parts])


@_block_keys.register
def _(block: RaggedArray, full: bool) -> np.ndarray:
    lengths = block.lengths
    size = int(np.prod(block.inner_shape, dtype=int))
    flat = block.values.reshape(-1, size) if len(block.values) else np.zeros((1, size))
    keys = _words(lengths, np.zeros(1))
    for probe in np.linspace(0, 1, 4) if not full else []:
        step = block.offsets[:-1] + (probe * np.maximum(lengths - 1, 0)).astype(np.int64)
        at = np.minimum(step, len(flat) - 1)
        words = _words(flat[at], np.arange(size)).sum(axis=1, dtype=np.uint64)
        keys = _mix(keys) + np.where(lengths > 0, words, 0)  # of an empty one the step is the next sample's
    if full and len(block.values):
        step = np.arange(len(flat)) - np.repeat(block.offsets[:-1], lengths)
        words = _mix(_words(flat, np.arange(size)).sum(axis=1, dtype=np.uint64) + _places(step))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])
        keys = keys + sums[block.offsets[1:]] - sums[block.offsets[:-1]]
    return keys


def _sample_keys(X: Blocks, y: np.ndarray, full: bool) -> np.ndarray:
    y = y.reshape(len(y), -1)
    keys = _words(y, np.arange(y.shape[1])).sum(axis=1, dtype=np.uint64)
    for name, block in X.items():
        # not 0 where it is missing, the key of a sparse row that stores nothing
        keys = _mix(keys) + np.where(X.present[name], _block_keys(block, full), _ODD)
    return keys


def frame_order(frame: Any) -> np.ndarray:
    """Rows of a DataFrame in an order of their own, which shuffling does not change: (n_samples,) positions.

    Equal rows, and those that differ in cells alone whose content cannot be hashed, stay in the order they have.
    """
    keys = np.zeros(len(frame), dtype=np.uint64)
    for j in range(frame.shape[1]):
        column = safe_indexing(frame, j, axis=1)
        values = column.to_numpy() if hasattr(column, "to_numpy") else column
        kind = values.dtype.kind
        if kind == "f" and values.ndim == 1:
            values = values.astype(np.float64)
            words = np.where(np.isnan(values), np.nan, values).view(np.uint64)
        elif kind in "biumM" and values.ndim == 1:
            # packages count time in units of their own
            words = values.astype(f"{kind}8[us]").view(np.int64) if kind in "mM" else values.astype(np.int64)
            words = words.view(np.uint64)
        else:
            seen: dict[str, int] = {}
            cells = list(values)
            for cell in cells:
                if isinstance(cell, str) and cell not in seen:
                    seen[cell] = _cell_word(cell)
            words = np.array([seen[c] if isinstance(c, str) else _cell_word(c) for c in cells], dtype=np.uint64)
        keys = _mix(keys) + _mix(words + _ODD)
    return np.argsort(keys, kind="stable")


def _cell_word(cell: Any) -> int:
    """64 bits of a cell's content, the same in every process and table; 0 where it has none that can be hashed."""
    if is_missing(cell):
        return 0
    if isinstance(cell, (list, tuple, np.ndarray)):
        with contextlib.suppress(ValueError):  # numpy's, of lists of unequal length
            array = as_array(cell)
            if array.dtype.kind in "biuf":  # a table of lists says the same as one of arrays
                cell = array.shape, array.astype(np.float64).tobytes()
    if isinstance(cell, str):
        content = cell.encode("utf-8", "surrogatepass")
    elif isinstance(cell, bytes):
        content = cell
    else:
        try:
            content = joblib.hash(cell).encode()
        except Exception:  # whatever an object's own pickling raises
            return 0
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def digest(X: Blocks, y: np.ndarray, folds: np.ndarray) -> str:
    """The same for the same samples in the same folds, in any order; lazily read ones are never the same."""
    if any(is_lazy(block) for block in X.values()):
        return secrets.token_hex()
    keys = _sample_keys(X, np.column_stack([y.reshape(len(y), -1), folds]), full=False)
    return hashlib.sha256(np.sort(keys).tobytes()).hexdigest()


def canonical(
    X: Blocks, y: np.ndarray, weights: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct samples in an order of their own, with the summed weight of each.

    A sample given k times is one sample of weight k, one of weight 0 is absent, and the order in which samples
    come means nothing: so training, whose batches and held-out parts are drawn from this list, gives the same
    network for any of these ways to state one data set. Two samples with different groups are never merged.
    With a lazily read block, whose content is not known here, the samples stay as they come.

    Parameters
    ----------
    X : Blocks
        Samples.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Encoded targets.
    weights : ndarray of shape (n_samples,)
        Weights, not negative.
    groups : ndarray of int, shape (n_samples,), optional
        Group of each sample.

    Returns
    -------
    rows : ndarray of int
        One row of each distinct sample.
    weights : ndarray of float, same shape
        Their weights.
    owner : ndarray of int, shape (n_samples,)
        Which of them each sample is equal to; -1 for a sample of weight 0 that equals none.
    """
    if any(is_lazy(block) for block in X.values()):
        order, starts = np.arange(len(X)), np.arange(len(X))
    else:
        order, starts = _alike(X, y if groups is None else np.column_stack([y, groups]))
    total = np.add.reduceat(weights[order], starts)
    kept = total > 0
    place = np.where(kept, np.cumsum(kept) - 1, -1)
    owner = np.empty(len(X), dtype=np.int64)
    owner[order] = np.repeat(place, np.diff([*starts, len(X)]))
    return order[starts][kept], total[kept], owner


def _alike(X: Blocks, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples in the order of their keys, and where in it each run of equal ones starts."""
    keys = _sample_keys(X, target, full=False)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    if not same.any():
        return order, np.arange(len(order))
    # only samples whose first look is the same are read as a whole
    suspects = np.sort(order[np.concatenate([same, [False]]) | np.concatenate([[False], same])])
    second = np.zeros(len(keys), dtype=np.uint64)
    second[suspects] = _sample_keys(X[suspects], target[suspects], full=True)
    order = np.lexsort([second, keys])
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[order][1:] != keys[order][:-1]) | (second[order][1:] != second[order][:-1])
    return order, np.flatnonzero(new)
