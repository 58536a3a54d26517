"""Blocks as the arrays that an exported model reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm.blocks import BlockInfo, Blocks, RaggedArray
from skmm.blocks._blocks import is_lazy
from skmm.blocks._given import sample_lengths
from skmm.deployment._arguments import Argument

_ROWS = 1024  # samples that a model reads at a time, at most
_NUMBERS = 1 << 22  # that a modality of them may hold; a single sample may hold more


def batches(blocks: Blocks) -> Iterator[tuple[np.ndarray, Blocks]]:
    """Checked blocks, some rows at a time, so that what they hold, filled up, stays small; the rows, and these."""
    held = np.ones(len(blocks))
    for block in blocks.values():
        if isinstance(block, RaggedArray):
            own: Any = block.lengths * math.prod(block.inner_shape)
        elif sp.issparse(block):
            own = np.diff(block.indptr)
        else:
            own = math.prod(block.shape[1:])
        held = np.maximum(held, own)
    if len(blocks) <= _ROWS and held.max(initial=0.0) * len(blocks) <= _NUMBERS:
        yield np.arange(len(blocks)), blocks  # to cut a single row costs half as much as to predict it
        return
    order = np.argsort(held, kind="stable")  # what is as large goes together, so that little is filled up
    start = 0
    while start < len(order):
        sizes = held[order[start : start + _ROWS]] * np.arange(1, len(order[start : start + _ROWS]) + 1)
        size = max(1, int(np.searchsorted(sizes, _NUMBERS, side="right")))
        rows = order[start : start + size]
        yield rows, blocks[rows]
        start += size


def arrays(
    blocks: Blocks,
    infos: Mapping[str, BlockInfo],
    arguments: list[Argument],
    least: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """What a model reads of some samples, by the names of its arguments.

    Axes that may be of any size are at least as long as ``least`` says, else 1.
    """
    found = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for argument in arguments:
        name = argument.modality
        if name not in parts:
            sizes = [least.get(axis, 1) for axis in argument.axes[1:2] if isinstance(axis, str)] if least else []
            parts[name] = _parts(name, blocks, infos, max([1, *sizes]), dense=argument.part == "values")
        found[argument.name] = np.ascontiguousarray(parts[name][argument.part], dtype=argument.dtype)
    return found


def _parts(
    name: str, blocks: Blocks, infos: Mapping[str, BlockInfo], least: int, *, dense: bool
) -> dict[str, np.ndarray]:
    """All that is said of a modality."""
    info, n = infos[name], len(blocks)
    if name not in blocks:
        return _absent(info, n, _steps_of_peers(name, blocks, infos, least), dense=dense)
    block, present = blocks[name], blocks.present[name].copy()  # reading may find that more are missing
    if info.kind == "sparse":
        return {**(_all_columns(block, present) if dense else _stored(block, present, least)), "present": present}
    if isinstance(block, RaggedArray):
        lengths = np.where(present, block.lengths, 0)
        inner = () if info.kind == "tokens" else info.shape
        return {
            "values": _padded(block, lengths, max(least, int(lengths.max(initial=0))), inner),
            "length": lengths,
        }
    values = _whole(block, present)
    if info.kind == "sequence":
        short = max(0, least - values.shape[1])
        values = np.pad(values, [(0, 0), (0, short), *[(0, 0)] * (values.ndim - 2)])
        return {"values": values, "length": np.where(present, block.shape[1], 0)}
    return {"values": values, "present": present}


def _steps_of_peers(name: str, blocks: Blocks, infos: Mapping[str, BlockInfo], least: int) -> int:
    """Steps of a modality that no sample has: those of the sequences that were as long as it was in fit."""
    length = infos[name].length
    peers = [peer for peer, info in infos.items() if peer in blocks and length and info.length == length]
    steps = [int(sample_lengths(blocks, peer).max(initial=0)) for peer in peers]
    return max([least, *(steps or [length or 1])])


def _absent(info: BlockInfo, n: int, steps: int, *, dense: bool) -> dict[str, np.ndarray]:
    nothing = np.zeros(n, dtype=bool)
    if info.kind in ("sequence", "tokens"):
        shape = info.shape if info.kind == "sequence" else ()
        return {"values": np.zeros((n, steps, *shape)), "length": np.zeros(n, dtype=np.int64)}
    if info.kind == "sparse" and not dense:
        return {"columns": np.zeros((n, steps)), "weights": np.zeros((n, steps)), "present": nothing}
    return {"values": np.zeros((n, *info.shape)), "present": nothing}


def _padded(block: RaggedArray, lengths: np.ndarray, most: int, inner: tuple[int, ...]) -> np.ndarray:
    """Samples filled up with zeros to so many steps; all of it zeros where one has no length."""
    out = np.zeros((len(block), most, *inner), dtype=block.dtype)
    out[np.arange(most) < lengths[:, None]] = block.values[np.repeat(lengths > 0, block.lengths)].reshape(
        -1, *inner
    )
    return out


def _whole(block: Any, present: np.ndarray) -> np.ndarray:
    """Samples of one shape, zeros where one is missing."""
    if is_lazy(block):
        out = np.zeros((len(present), *block.shape[1:]), dtype=block.dtype)
        rows = np.flatnonzero(present)
        if len(rows):
            values, exists = block[rows].read(np.arange(len(rows)))
            out[rows[exists]] = values[exists]
            present[rows[~exists]] = False
        return out
    array = np.asarray(block)
    if present.all():
        return array
    return np.where(present.reshape(-1, *[1] * (array.ndim - 1)), array, np.zeros((), array.dtype))


def _stored(block: Any, present: np.ndarray, least: int) -> dict[str, np.ndarray]:
    """What sparse rows store, filled up with zeros."""
    block = sp.csr_array(block)
    counts = np.diff(block.indptr)
    there = np.arange(max(least, int(counts.max(initial=0)))) < counts[:, None]
    columns = np.zeros(there.shape, dtype=np.int64)
    weights = np.zeros(there.shape, dtype=block.dtype)
    columns[there], weights[there] = block.indices, block.data
    weights[~present] = 0  # which may be NaN
    return {"columns": columns, "weights": weights}


def _all_columns(block: Any, present: np.ndarray) -> dict[str, np.ndarray]:
    return {"values": np.where(present[:, None], sp.csr_array(block).toarray(), 0)}
