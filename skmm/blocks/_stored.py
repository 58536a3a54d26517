"""Numbers in the columns of a table on disk as lazily read blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from skmm._checks import unknown
from skmm._optional import import_optional
from skmm.blocks._kinds import Block, LazyRows, RaggedArray, StoredRows
from skmm.columns._lazy import LazyTable
from skmm.files._parquet import is_list

STORED_KINDS = ["vector", "sequence", "tokens"]
_PROBED = 1000  # rows that say whether the lists of a column have one length


def stored_blocks(
    table: LazyTable, modalities: Mapping[str, Any] | None, kinds: Mapping[str, str] | None
) -> tuple[dict[str, LazyRows], dict[str, np.ndarray]]:
    """Lazily read blocks of the columns of a table, and which rows exist.

    Parameters
    ----------
    table : LazyTable
        The table.
    modalities : mapping of str to str or list of str, or None
        The columns of each modality; None for each column of lists its own, and one, ``"table"``, for all numbers.
    kinds : mapping of str to str or None
        What modalities of one column of lists are, of ``STORED_KINDS``.
    """
    chosen = _modalities(table, modalities)
    kinds = dict(kinds or {})
    for name, kind in kinds.items():
        if name not in chosen:
            raise unknown("modality in kinds:", name, chosen)
        if kind not in STORED_KINDS:
            raise unknown(f"kind of modality {name!r}:", kind, STORED_KINDS)
    blocks, present = {}, {}
    for name, columns in chosen.items():
        base = _base(table, name, columns, kinds.get(name))
        blocks[name] = LazyRows(base, table.all_stored)
        present[name] = table.present(columns)
    return blocks, present


def _modalities(table: LazyTable, modalities: Mapping[str, Any] | None) -> dict[str, list[str]]:
    types = import_optional("pyarrow", extra="dataframe").types
    if modalities is None:
        kinds = {field.name: field.type for field in table.schema}
        lists = {name: [name] for name, kind in kinds.items() if is_list(_plain(kind), types)}
        rest = [name for name in kinds if name not in lists]
        name = "table"
        while name in lists:
            name += "_"
        return {**({name: rest} if rest else {}), **lists}
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(f"modalities must be a dict of name -> column or list of columns, got {modalities!r}.")
    chosen = {}
    for name, columns in modalities.items():
        if not isinstance(name, str):
            raise ValueError(f"modality names must be strings, got {name!r}.")
        columns = [columns] if isinstance(columns, str) else columns
        if not isinstance(columns, list) or not columns:
            raise ValueError(f"modality {name!r}: {columns!r} is neither a column nor a list of columns.")
        for column in columns:
            if column not in table.columns:
                raise unknown(f"column of modality {name!r}:", column, table.columns)
        chosen[name] = columns
    return chosen


def _plain(kind: Any) -> Any:
    """A type of pyarrow, of an extension of it what it is stored as."""
    return getattr(kind, "storage_type", kind)


class _Leaf(NamedTuple):
    """Levels of lists above the numbers of a column, and their type."""

    depth: int
    dtype: np.dtype


def _leaf(table: LazyTable, name: str, column: str) -> _Leaf:
    """Refuse a column that holds no numbers."""
    types = import_optional("pyarrow", extra="dataframe").types
    kind, depth = _plain(table.schema.field(column).type), 0
    while is_list(kind, types):
        kind, depth = _plain(kind.value_type), depth + 1
    if types.is_decimal(kind):
        return _Leaf(depth, np.dtype(np.float64))
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return _Leaf(depth, np.dtype(kind.to_pandas_dtype()))
    raise ValueError(
        f"modality {name!r}: column {column!r} of {table._source.described()} is of type "
        f"{table.schema.field(column).type}, and Blocks hold numbers. Give LazyTable.from_parquet(path) to an "
        "estimator or a ModalityTransformer, whose transformers read text, categories, dates and files batch by "
        "batch; or name the columns to read, modalities={...}, without it."
    )


def _base(table: LazyTable, name: str, columns: list[str], kind: str | None) -> Any:
    leaves = [_leaf(table, name, column) for column in columns]
    deep = [column for column, leaf in zip(columns, leaves, strict=True) if leaf.depth]
    if not deep:
        if kind in ("sequence", "tokens"):
            raise ValueError(f"modality {name!r}: {columns} hold one number a row, which are no {kind}.")
        return StoredNumbers(table, columns, [leaf.dtype for leaf in leaves])
    if len(columns) > 1:
        raise ValueError(
            f"modality {name!r}: column {deep[0]!r} holds lists, which are a modality of their own; got {columns}."
        )
    leaf, column = leaves[0], columns[0]
    if kind == "tokens" and (leaf.depth != 1 or leaf.dtype.kind not in "iu"):
        raise ValueError(
            f"modality {name!r}: tokens are lists of whole numbers, column {column!r} is of type "
            f"{table.schema.field(column).type}."
        )
    shape = _one_shape(table, column, leaf.depth)
    vector = kind == "vector" or (kind is None and leaf.depth == 1 and shape is not None)
    if shape is not None and (vector or (leaf.depth > 2 and kind is None)):
        return StoredArrays(table, column, leaf, shape)
    if kind == "vector" or leaf.depth > 2:
        raise ValueError(
            f"modality {name!r}: the arrays in column {column!r} of {table._source.described()} have not one shape"
            + ("; lists that differ in length are a 'sequence'." if leaf.depth == 1 else ".")
        )
    if leaf.depth == 2 and shape is None:
        shape = (0, _step_size(table, column))
    steps = () if leaf.depth == 1 else (0 if shape is None else shape[1],)
    ids = kind != "sequence" and leaf.depth == 1 and leaf.dtype.kind in "iu"
    dtype = leaf.dtype if ids or leaf.dtype.kind == "f" else np.dtype(np.float64)
    return StoredSequences(table, column, leaf._replace(dtype=dtype), steps)


def _probe(table: LazyTable, column: str) -> Any:
    rows = table.all_stored[:_PROBED]
    found = table.reader([column]).read(np.unique(rows)).column(column)
    return _array(found).drop_null()


def _one_shape(table: LazyTable, column: str, depth: int) -> tuple[int, ...] | None:
    """The one shape that arrays have as far as the first rows tell; None if they differ."""
    array, shape = _probe(table, column), []
    for _ in range(depth):
        lengths = np.unique(_lengths(array))
        if len(lengths) != 1 or not lengths[0]:
            return None
        shape.append(int(lengths[0]))
        array = _flattened(array)
    return tuple(shape)


def _step_size(table: LazyTable, column: str) -> int:
    lengths = _lengths(_flattened(_probe(table, column)))
    return int(lengths[0]) if len(lengths) else 0


# -- arrays of pyarrow ---------------------------------------------------------------------------------------------


def _array(column: Any) -> Any:
    """A column as one array, of an extension what it is stored as."""
    if hasattr(column, "chunks"):
        pa = import_optional("pyarrow", extra="dataframe")
        column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [_empty(column)])
    return column.storage if hasattr(column, "storage") else column


def _empty(column: Any) -> Any:
    pa = import_optional("pyarrow", extra="dataframe")
    return pa.array([], column.type)


def _lengths(array: Any) -> np.ndarray:
    """Lengths of the lists of an array, 0 for one that is missing."""
    pc = import_optional("pyarrow.compute", extra="dataframe")
    return pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _flattened(array: Any) -> Any:
    """What the lists of an array that are there hold, end to end."""
    return _array(array.flatten())


def _numbers(array: Any, dtype: np.dtype) -> np.ndarray:
    """Numbers, NaN where there is none."""
    pa = import_optional("pyarrow", extra="dataframe")
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=None if array.null_count else dtype)


class _Stored(StoredRows):
    """Columns of a table as the base of a lazily read block."""

    def __init__(self, table: LazyTable, columns: list[str]) -> None:
        self.table, self.columns = table[columns], columns
        self.reader = table.reader(columns)
        self.runs = self.reader.runs

    @property
    def n_rows(self) -> int:
        return int(self.runs.starts[-1])

    def where(self, row: int) -> str:
        return f"column {self.columns[0]!r}, {self.reader.source.where(int(row))}"


class StoredNumbers(_Stored):
    """Columns of one number a row as vectors."""

    def __init__(self, table: LazyTable, columns: list[str], dtypes: list[np.dtype]) -> None:
        super().__init__(table, columns)
        self.shape = (self.n_rows, len(columns))
        self.dtype = np.result_type(np.float32, *dtypes)  # of which each has a gap

    def read(self, rows: np.ndarray) -> tuple[Block, np.ndarray]:
        found = self.reader.read(rows)
        block = np.empty((len(rows), len(self.columns)), self.dtype)
        for place, column in enumerate(self.columns):
            block[:, place] = _numbers(_array(found.column(column)), self.dtype)
        return block, np.asarray(~np.isnan(block).all(axis=1))


class StoredArrays(_Stored):
    """A column of lists, or lists of lists, that make arrays of one shape."""

    def __init__(self, table: LazyTable, column: str, leaf: _Leaf, shape: tuple[int, ...]) -> None:
        super().__init__(table, [column])
        self.shape = (self.n_rows, *shape)
        self.dtype = leaf.dtype

    def read(self, rows: np.ndarray) -> tuple[Block, np.ndarray]:
        array = _array(self.reader.read(rows).column(self.columns[0]))
        exists = array.is_valid().to_numpy(zero_copy_only=False)
        there, size = np.flatnonzero(exists), len(rows)
        for level, length in enumerate(self.shape[1:]):
            lengths = _lengths(array)[there] if level == 0 else _lengths(array)
            odd = np.flatnonzero(lengths != length)
            if len(odd):
                per_row = int(np.prod(self.shape[1 : 1 + level]))
                raise ValueError(
                    f"{self.where(rows[there[odd[0] // per_row]])}: a list of {lengths[odd[0]]} values, where "
                    f"those of the first rows have {length}. Lists that differ in length are a sequence: "
                    f"kinds={{name: 'sequence'}}."
                )
            array = _flattened(array)
        values = _numbers(array, self.dtype).reshape(-1, *self.shape[1:])
        if values.dtype.kind == "f":
            nan = np.isnan(values.reshape(len(values), -1)).all(axis=1)
            exists = exists.copy()
            exists[there[nan]] = False
        if len(there) == size:
            return values, exists
        block = np.zeros((size, *self.shape[1:]), values.dtype)
        block[there] = values
        return block, exists


class StoredSequences(_Stored):
    """A column of lists of any length: of numbers, or of steps that are lists of one length."""

    def __init__(self, table: LazyTable, column: str, leaf: _Leaf, step: tuple[int, ...]) -> None:
        super().__init__(table, [column])
        self.shape = (self.n_rows,)
        self.dtype, self.step = leaf.dtype, step
        self.template = RaggedArray(np.empty((0, *step), leaf.dtype), np.zeros(1, dtype=np.int64))

    def read(self, rows: np.ndarray) -> tuple[Block, np.ndarray]:
        array = _array(self.reader.read(rows).column(self.columns[0]))
        lengths = _lengths(array)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        exists = array.is_valid().to_numpy(zero_copy_only=False)
        empty = np.flatnonzero(exists & (lengths == 0))
        if len(empty):
            raise ValueError(f"{self.where(rows[empty[0]])}: an empty list. What is missing is null.")
        array = _flattened(array)
        if self.step:
            sizes = _lengths(array)
            odd = np.flatnonzero(sizes != self.step[0])
            if len(odd):
                row = int(np.searchsorted(offsets, odd[0], side="right") - 1)
                raise ValueError(
                    f"{self.where(rows[row])}: step {odd[0] - offsets[row]} has {sizes[odd[0]]} values, those of "
                    f"the first rows have {self.step[0]}; all steps of a sequence have as many."
                )
            array = _flattened(array)
        if array.null_count and self.dtype.kind in "iu":
            raise ValueError(
                f"column {self.columns[0]!r} of {self.reader.source.described()}: a list of ids has a null in it."
            )
        return RaggedArray(_numbers(array, self.dtype).reshape(-1, *self.step), offsets), exists
