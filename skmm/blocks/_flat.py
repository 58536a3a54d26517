"""Several blocks side by side in one 2-D array, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm._warnings import warn
from skmm.blocks._kinds import Block, RaggedArray, all_nan, as_kind, block_kind, last_steps


@dataclass(frozen=True)
class FlatPart:
    """Where one modality stands in the flat form, and how to restore it.

    Attributes
    ----------
    start, stop : int
        Its first column, and the one after its last.
    kind : str
        One of ``KINDS``.
    shape : tuple of int
        Of a sample; of a ragged sequence that of the longest.
    dtype : dtype
        Of the block.
    ragged : bool
        Whether samples may end before the longest does.
    counted : bool
        Whether its last column counts the steps that are missing, at the end of a sample; else NaN says it.
    """

    start: int
    stop: int
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    ragged: bool
    counted: bool = False


@dataclass(frozen=True)
class FlatLayout:
    """Which columns of a flat 2-D array belong to which modality, and their shapes.

    Made by :meth:`Blocks.to_flat`; pass it as ``modalities=`` to an estimator that is to read the flat form.

    Attributes
    ----------
    parts : mapping of str to FlatPart
        Where each modality stands.
    rest : str or None
        The modality that columns after these make, which a tool has added (``ClassifierChain`` does); None where
        there must be none.
    """

    parts: Mapping[str, FlatPart]
    rest: str | None = None

    @property
    def n_features(self) -> int:
        """Columns of the flat array."""
        return max((part.stop for part in self.parts.values()), default=0)


def flat_part(block: Block, start: int, counted: bool) -> FlatPart:
    """The columns that a block takes, from one on."""
    ragged = isinstance(block, RaggedArray)
    # one step at least, that a sample may lack
    shape = (max(1, int(block.lengths.max(initial=0))), *block.inner_shape) if ragged else tuple(block.shape[1:])
    stop = start + int(np.prod(shape)) + counted
    return FlatPart(start, stop, block_kind(block), shape, block.dtype, ragged, counted)


def flattened(name: str, block: Block, present: np.ndarray, part: FlatPart, dtype: np.dtype) -> Any:
    """The columns of a block, (n, part.stop - part.start), NaN or counted where something is missing."""
    given, block = block, as_kind(block, (part.kind,))
    if sp.issparse(block) != (part.kind == "sparse") or not _fits(block, present, part):
        raise ValueError(
            f"modality {name!r}: {block_kind(given)} samples of shape {_shape_of_sample(given)} are not what the "
            f"layout says, {part.kind} of shape {part.shape}."
        )
    if sp.issparse(block):
        return _flat_sparse(block, ~present, dtype, part.counted)
    gone = (~present).astype(dtype)
    if isinstance(block, RaggedArray) or part.ragged:
        longest = part.shape[0]
        lengths = block.lengths if isinstance(block, RaggedArray) else np.full(len(present), block.shape[1])
        lengths = np.where(present, lengths, 0)
        if (cut := lengths > longest).any():
            warn(
                f"modality {name!r}: {cut.sum()} of {len(cut)} samples have more than the {longest} steps of the "
                f"flat form, the first is row {cut.argmax()}; the steps after these are cut."
            )
        dense = _padded(block, longest).astype(dtype)
        after = np.arange(longest) >= lengths[:, None]
        dense[after] = 0 if part.counted else np.nan
        gone = after.sum(axis=1).astype(dtype)
    else:
        dense = np.asarray(block).astype(dtype)
    flat = dense.reshape(len(present), int(np.prod(part.shape)))
    flat[~present] = 0 if part.counted else np.nan
    return np.column_stack([flat, gone]) if part.counted else flat


def _fits(block: Block, present: np.ndarray, part: FlatPart) -> bool:
    """Whether samples are of the shape that a layout says, but for the length of what may have any."""
    if not isinstance(block, RaggedArray):
        first = 1 if part.ragged else 0
        return tuple(block.shape[1:][first:]) == tuple(part.shape[first:])
    same_steps = part.ragged or (block.lengths[present] == part.shape[0]).all()
    return bool(same_steps and tuple(block.inner_shape) == tuple(part.shape[1:]))


def _padded(block: Block, longest: int) -> np.ndarray:
    """Samples of one length, zeros after the end of each."""
    if isinstance(block, RaggedArray):
        return block.pad(max(longest, int(block.lengths.max(initial=0))))[:, :longest]
    block = np.asarray(block)[:, :longest]
    return np.pad(block, [(0, 0), (0, longest - block.shape[1]), *[(0, 0)] * (block.ndim - 2)])


def _flat_sparse(block: Any, missing: np.ndarray, dtype: np.dtype, counted: bool) -> sp.csr_array:
    """A sparse block in the flat form."""
    flat = sp.csr_array(block, dtype=dtype)
    if counted:
        keep = sp.diags_array((~missing).astype(dtype))
        return sp.csr_array(sp.hstack([keep @ flat, sp.csr_array(missing[:, None].astype(dtype))], format="csr"))
    if missing.any():  # one stored NaN says it: a sparse row is missing if all it stores is NaN
        keep = sp.diags_array((~missing).astype(dtype))
        rows = np.flatnonzero(missing)
        nan = sp.csr_array((np.full(len(rows), np.nan, dtype), (rows, np.zeros(len(rows), int))), flat.shape)
        flat = sp.csr_array(keep @ flat) + nan
    return flat


def restored(values: Any, part: FlatPart) -> tuple[Block, np.ndarray]:
    """The block that was flattened, and which rows exist."""
    gone = None
    if part.counted:
        gone, values = values[:, [-1]], values[:, :-1]
        gone = np.rint((gone.toarray() if sp.issparse(gone) else gone)[:, 0])
    if part.kind == "sparse":
        return _restored_sparse(values, part, gone)
    dense = (values.toarray() if sp.issparse(values) else values).reshape(values.shape[0], *part.shape)
    if part.ragged:
        if gone is None:  # a sample ends after its last step that is not all NaN
            steps = last_steps(~np.isnan(dense).all(axis=tuple(range(2, dense.ndim))))
        else:
            steps = (part.shape[0] - gone).clip(0, part.shape[0]).astype(np.int64)
        padded = RaggedArray.from_padded(dense, steps)
        return RaggedArray(_as_type(padded.values, part.dtype), padded.offsets), steps > 0
    exists = ~all_nan(dense) if gone is None else gone <= 0
    if gone is not None and part.dtype.kind == "f" and not exists.all():
        dense = dense.copy()
        dense[~exists] = np.nan
    return _as_type(dense, part.dtype), exists


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in the type of a block; what lies between whole numbers, as samplers make it, becomes one."""
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    return np.rint(np.where(np.isnan(values), 0, values)).astype(dtype)


def _restored_sparse(values: Any, part: FlatPart, gone: np.ndarray | None) -> tuple[sp.csr_array, np.ndarray]:
    block = sp.csr_array(values)
    exists = ~all_nan(block) if gone is None else gone <= 0
    if part.dtype.kind != "f":
        block.data = np.nan_to_num(block.data)
    return block.astype(part.dtype), exists


def _shape_of_sample(block: Block) -> tuple[Any, ...]:
    return ("time", *block.inner_shape) if isinstance(block, RaggedArray) else tuple(block.shape[1:])


def nothing(part: FlatPart, n_samples: int) -> Block:
    """Samples of which none has a modality, in the form that it has in a layout."""
    if part.ragged:
        return RaggedArray(np.zeros((0, *part.shape[1:]), part.dtype), np.zeros(n_samples + 1, dtype=np.int64))
    if part.kind == "sparse":
        return sp.csr_array((n_samples, *part.shape), dtype=part.dtype)
    return np.zeros((n_samples, *part.shape), part.dtype)
