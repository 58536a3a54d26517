"""Samples put below others, in whatever form X has."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm._checks import unknown
from skmm._optional import import_optional
from skmm.blocks._blocks import Blocks, trusted_blocks
from skmm.blocks._given import is_named
from skmm.blocks._kinds import (
    Block,
    LazyRows,
    RaggedArray,
    as_kind,
    block_kind,
    is_lazy,
    is_list_of_none,
    sample_shape,
    spread,
)
from skmm.columns._tables import as_frame


def join(X: Any, more: Any, name: str) -> Any:
    """The samples of X, and ``more`` of them after these.

    Parameters
    ----------
    X : Blocks, DataFrame, or array or sparse matrix of shape (n_samples, n_features)
        Samples.
    more : the same, or a dict of arrays
        Further ones. Of Blocks some modalities may be absent; columns may come in another order.
    name : str
        What ``more`` is called in messages.

    Raises
    ------
    ValueError
        If they do not have the same modalities or columns, of the same shape.
    """
    more = as_frame(more)
    tables = [hasattr(each, "columns") and not is_named(each) for each in (X, more)]
    if is_named(X) != is_named(more) or tables[0] != tables[1] or (tables[0] and _package(X) != _package(more)):
        raise ValueError(f"X is {_described(X)} and {name} is {_described(more)}; give both in one form.")
    if is_named(X):
        return _join_blocks(X, more if isinstance(more, Blocks) else Blocks(more), name)
    return _join_tables(X, more, name) if tables[0] else _join_arrays(X, more, name)


def _package(table: Any) -> str:
    return type(table).__module__.partition(".")[0]


def _described(X: Any) -> str:
    if is_named(X):
        return f"a {type(X).__name__} of the modalities {list(X)}"
    return f"a {type(X).__module__}.{type(X).__name__}"


def _join_tables(X: Any, more: Any, name: str) -> Any:
    columns, others = list(X.columns), list(more.columns)
    for column in others:
        if column not in columns:
            raise unknown(f"column of {name}:", column, columns)
    if lacking := [column for column in columns if column not in others]:
        raise ValueError(f"{name} lacks the columns {lacking} of X; it has {others}.")
    if _package(X) == "polars":
        return import_optional("polars", extra="dataframe").concat(
            [X, more.select(columns)], how="vertical_relaxed"
        )
    return import_optional("pandas", extra="dataframe").concat([X, more[columns]], ignore_index=True)


def _join_arrays(X: Any, more: Any, name: str) -> Any:
    X, more = (each if sp.issparse(each) else np.asarray(each) for each in (X, more))
    if X.ndim != more.ndim or X.shape[1:] != more.shape[1:]:
        raise ValueError(f"X has shape {X.shape} and {name} has {more.shape}; samples of both must have one shape.")
    if sp.issparse(X) or sp.issparse(more):
        return sp.vstack([sp.csr_array(X), sp.csr_array(more)], format="csr")
    return np.concatenate([X, more])


# -- blocks -------------------------------------------------------------------------------------------------------


def _join_blocks(X: Blocks, more: Blocks, name: str) -> Blocks:
    for modality in more:
        if modality not in X:
            raise unknown(f"modality of {name}:", modality, list(X))
    n, n_more = len(X), len(more)
    blocks, present = {}, {}
    for modality, block in X.items():
        if modality in more and not is_list_of_none(more[modality], more.present[modality]):
            blocks[modality] = _join_block(block, more[modality], f"modality {modality!r} of {name}")
            there = more.present[modality]
        else:
            blocks[modality] = spread(block, np.arange(n), n + n_more)
            there = np.zeros(n_more, dtype=bool)
        present[modality] = np.concatenate([X.present[modality], there])
    return trusted_blocks(blocks, present, n + n_more)


def _join_block(block: Block, more: Block, where: str) -> Block:
    more = as_kind(more, (block_kind(block),))
    pair = (block, more)
    lazy = is_lazy(block) or is_lazy(more)  # of sequences as many steps, too
    kinds = [block_kind(each) for each in pair]
    shapes = [
        tuple(each.shape[1:]) if lazy and hasattr(each, "shape") else sample_shape(each) for each in (block, more)
    ]
    if kinds[0] != kinds[1] or shapes[0] != shapes[1]:
        raise ValueError(
            f"{where} is {kinds[1]} of shape {shapes[1]} a sample; in X it is {kinds[0]} of shape {shapes[0]}."
        )
    if any(is_lazy(each) and each.template is not None for each in pair):
        raise ValueError(
            f"{where} is read from a table on disk, whose {kinds[0]} blocks cannot be joined to others."
        )
    if lazy:
        rows = _JoinedRows([block, more])
        return LazyRows(rows, np.arange(rows.shape[0]))
    if sp.issparse(block):
        return sp.vstack([sp.csr_array(block), sp.csr_array(more)], format="csr")
    if isinstance(block, np.ndarray) and isinstance(more, np.ndarray) and block.shape[1:] == more.shape[1:]:
        return np.concatenate([block, more])
    parts = [_as_ragged(block), _as_ragged(more)]
    return RaggedArray(
        np.concatenate([part.values.reshape(len(part.values), *parts[0].inner_shape) for part in parts]),
        np.concatenate([parts[0].offsets, parts[0].offsets[-1] + parts[1].offsets[1:]]),
    )


def _as_ragged(block: Block) -> RaggedArray:
    if isinstance(block, RaggedArray):
        return block
    return RaggedArray.from_padded(block, np.full(len(block), block.shape[1]))


class _JoinedRows:
    """Rows of two blocks, at least one of which is read when a batch needs it, as one array-like."""

    def __init__(self, parts: list[Block]) -> None:
        self.parts = [part if is_lazy(part) else LazyRows(part, np.arange(len(part))) for part in parts]
        self.shape = (sum(len(part) for part in parts), *parts[0].shape[1:])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.n_jobs = getattr(self.parts[0].base, "n_jobs", None)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, (int, np.integer)):
            return self[[rows]][0]
        rows = np.asarray(rows)
        first, second = self.parts
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        exists = np.ones(len(rows), dtype=bool)
        for part, mine, start in ((first, rows < len(first), 0), (second, rows >= len(first), len(first))):
            values[mine], exists[mine] = part.read(rows[mine] - start)
        hidden = np.broadcast_to(~exists.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
        return values if exists.all() else np.ma.MaskedArray(values, hidden)
