"""What a user may give as the block of a modality, and the block that becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm.blocks._kinds import KINDS, Block, LazyRows, RaggedArray, is_lazy, native, spread, unmasked
from skmm.columns._cells import as_array
from skmm.files._hdf5 import StoredDataset, is_dataset
from skmm.files._sources import KIND_OF, extension

_NO_ORDER = "a {} has no rows that can be counted; give an array or a list"


def as_block(name: str, value: Any) -> tuple[Block, np.ndarray | None]:
    """The block of a modality and, where the value says so itself, which of its rows exist.

    Raises
    ------
    ValueError
        If no block of numbers can be made of it; names the modality, and the row where there is one.
    """
    if isinstance(value, LazyRows):
        return value, None
    if isinstance(value, RaggedArray):
        return _checked(name, value), value.lengths > 0
    value = _opened(name, value)
    if sp.issparse(value):
        return _sparse(name, value), None
    if isinstance(value, np.ma.MaskedArray):
        return _of_masked(name, value)
    if isinstance(value, np.ndarray) and value.dtype == object and (value.ndim == 1 or _holds_samples(value)):
        value = value.reshape(-1).tolist()  # its cells may be arrays or lists
    if isinstance(value, (list, tuple)):
        return _of_list(name, value)
    return _array(name, value if isinstance(value, np.ndarray) else _rows_of(value)), None


def _opened(name: str, value: Any) -> Any:
    """What a user gave as an array, a list or a sparse matrix, or as an object that may be read by rows.

    Raises
    ------
    ValueError
        If it has no rows in an order, or its package fails to give them.
    """
    if value is None:
        raise ValueError(
            f"modality {name!r} is None, expected one row per sample. Leave it out, or give None in the place of "
            "each sample that lacks it."
        )
    if is_dataset(value):
        try:
            value = StoredDataset(value)
        except ValueError as error:
            raise ValueError(f"modality {name!r}: {error}; give its values, dataset[:], if you trust it.") from None
    if isinstance(value, (Mapping, Set, Iterator)) and not sp.issparse(value):
        raise ValueError(f"modality {name!r}: {_NO_ORDER.format(type(value).__name__)} of samples.")
    try:
        return _unwrapped(value)
    except Exception as error:  # whatever the package raises that the object comes from
        raise ValueError(
            f"modality {name!r}: no array can be made of a {type(value).__module__}.{type(value).__name__} "
            f"({error}). Give a numpy array, or a list with one array per sample."
        ) from error


def n_axes(value: Any) -> int:
    """Axes of whatever has a shape; 0 of anything else."""
    shape = getattr(value, "shape", ())
    return len(shape) if isinstance(shape, tuple) else 0


# -- forms of other packages ---------------------------------------------------------------------------------------


def _unwrapped(value: Any) -> Any:
    """What an object of another package holds, as an array, a list or a sparse matrix; any other as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, without importing torch
        return _of_tensor(value)
    if type(value).__module__.partition(".")[0] == "pyarrow":
        return _of_arrow(value)
    if hasattr(value, "to_numpy"):  # pandas, polars: a DataFrame or a Series
        missing = value.isna() if hasattr(value, "isna") else None
        value = value.to_numpy()
        if value.dtype == object and missing is not None:
            value = np.where(missing, None, value)  # pandas has several marks
        return value
    if isinstance(value, np.ndarray) and type(value) not in (np.ndarray, np.memmap, np.ma.MaskedArray):
        # of a subclass such as np.matrix, which has two axes whatever is done with it
        return value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    return value


def _of_tensor(tensor: Any) -> Any:
    tensor = tensor.detach()
    if tensor.is_nested:
        return [_of_tensor(sample) for sample in tensor.unbind()]
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if str(tensor.layout) != "torch.strided":
        if tensor.ndim == 2:
            tensor = tensor.to_sparse_coo().coalesce().cpu()
            data = _of_tensor(tensor.values())
            data = data.astype(np.float32) if data.dtype == np.float16 else data  # of which scipy knows nothing
            return sp.csr_array((data, tuple(tensor.indices().numpy())), shape=tuple(tensor.shape))
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and str(tensor.dtype) not in ("torch.float16", "torch.float64"):
        tensor = tensor.float()  # numpy has neither bfloat16 nor the floats of 8 bits
    return tensor.cpu().resolve_conj().resolve_neg().numpy()


def _of_arrow(value: Any) -> Any:
    if hasattr(value, "column_names"):  # a Table or a RecordBatch
        columns = [_of_arrow(column) for column in value.columns]
        if len(columns) == 1:
            return columns[0]
        return np.column_stack(columns) if columns else np.empty((value.num_rows, 0))
    if not hasattr(value, "type") or not hasattr(value, "to_pylist"):
        return np.asarray(value)
    if str(value.type).startswith("fixed_size_list"):
        return value.to_pylist()  # lists of one length, some of them None
    try:
        return value.to_numpy(zero_copy_only=False)
    except TypeError:  # a ChunkedArray of an older version copies always
        return value.to_numpy()


# -- forms of numpy's kind -----------------------------------------------------------------------------------------


def _numeric(name: str, array: np.ndarray) -> np.ndarray:
    """Numbers in a type that torch has as well.

    Raises
    ------
    ValueError
        If they are none.
    """
    if array.dtype.kind in "biuf":
        return array.astype(native(array.dtype), copy=False)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: modality {name!r} has dtype {array.dtype}.")
    if array.dtype.type.__module__ == "ml_dtypes":  # bfloat16 and others, as JAX has them
        return array.astype(np.float32)
    bad = next((v for v in array.ravel().tolist() if isinstance(v, (str, bytes))), None)
    if array.dtype.kind == "O" and bad is None:
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError):
            pass
    found = "" if bad is None else f", for example {bad!r}"
    raise ValueError(f"modality {name!r} must be numeric, it has dtype {array.dtype}{found}. {how_to_read(bad)}")


_LOADERS = {"image": "ImageLoader()", "audio": "make_pipeline(AudioLoader(), LogMel())", "video": "VideoFrames()"}


def how_to_read(cell: Any) -> str:
    """What to do with cells such as this one, which are no numbers."""
    kind = KIND_OF.get(extension(cell)) if isinstance(cell, str) else None
    if kind is not None:
        return (
            f"Files are read from a column of a table, pd.DataFrame({{{kind!r}: paths}}), or by "
            f"{_LOADERS[kind]}.fit_transform(paths) of skmm.preprocessing."
        )
    return (
        "Give text, categories and files as columns of a DataFrame, which are read by what they hold, or turn them "
        "into numbers first, e.g. ModalityTransformer([('text', TfidfVectorizer(), 'review')])."
    )


def _array(name: str, array: Any) -> Block:
    """An array, or rows that are read when needed, of the dimensions that a block may have."""
    ndim = len(array.shape)
    if ndim == 0:
        raise ValueError(f"modality {name!r} is a single value {array!r}, expected one row per sample.")
    if ndim > 5:
        kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
        raise ValueError(f"modality {name!r} has {ndim} dimensions, expected 1 to 5: {kinds}.")
    if is_lazy(array):
        _numeric(name, np.empty(0, array.dtype))
        return array
    array = _numeric(name, array)
    return array.reshape(-1, 1) if ndim == 1 else array


def _rows_of(value: Any) -> Any:
    """Any other object by rows, read when they are needed, if it has more than one axis; else an array of it."""
    by_rows = hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")
    if by_rows and len(value.shape) >= 2:
        return LazyRows(value, np.arange(value.shape[0]))
    return np.asarray(value)


def _of_masked(name: str, array: np.ma.MaskedArray) -> tuple[Block, np.ndarray]:
    """An array whose samples are missing where they are masked whole."""
    try:
        present = unmasked(array, np.arange(len(array)) if array.ndim else np.zeros(0))
    except ValueError as error:
        raise ValueError(f"modality {name!r}, {error}") from None
    return as_block(name, array.data)[0], present


def _sparse(name: str, value: Any) -> Any:
    if value.ndim != 2:
        raise ValueError(f"modality {name!r}: a sparse block must have 2 dimensions, got {value.ndim}.")
    csr = value.tocsr()
    data = _numeric(name, csr.data)
    if data is csr.data:
        return csr
    return type(csr)((data, csr.indices, csr.indptr), shape=csr.shape)


def _checked(name: str, block: RaggedArray) -> RaggedArray:
    """A RaggedArray that a user may have put together."""
    values, offsets = np.asarray(block.values), np.asarray(block.offsets)
    broken = offsets.ndim != 1 or not len(offsets) or offsets.dtype.kind not in "iu" or values.ndim == 0
    if broken or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise ValueError(
            f"modality {name!r}: the offsets of a RaggedArray are whole numbers that rise from 0 to the length of "
            f"its values, here {len(values) if values.ndim else 'a single value'}, got {offsets}."
        )
    numbers = _numeric(name, values)
    return block if numbers is block.values else RaggedArray(numbers, offsets.astype(np.int64, copy=False))


def _holds_samples(cells: np.ndarray) -> bool:
    """Whether a column of objects, (n, 1), holds arrays or lists."""
    return cells.ndim == 2 and cells.shape[1] == 1 and any(_is_sample(cell) for cell in cells[:, 0])


def _is_sample(item: Any) -> bool:
    if item is None or (isinstance(item, (str, bytes, Mapping)) and not sp.issparse(item)):
        return False
    return hasattr(item, "__len__") or n_axes(item) > 0


def _of_list(name: str, items: list[Any] | tuple[Any, ...]) -> tuple[Block, np.ndarray | None]:
    """A list of numbers, of arrays, or of lists: ragged ones, or one array where lists have one length."""
    items = [_sample(name, row, item) for row, item in enumerate(items)]
    there = [item for item in items if item is not None]
    nested = [item for item in there if isinstance(item, (list, tuple))]
    arrays = any(getattr(item, "ndim", 0) for item in there)
    if arrays or (nested and (len(nested) < len(there) or len({len(item) for item in nested}) > 1)):
        return _of_samples(name, items)
    rows = np.flatnonzero([item is not None for item in items]) if nested else np.arange(len(items))
    try:
        array = np.asarray([items[row] for row in rows])
    except (TypeError, ValueError) as error:  # numpy's, of lists of unequal length inside the samples
        raise ValueError(f"modality {name!r}: {error}") from None
    if array.ndim == 1 and nested:  # lists without numbers, or of objects
        raise ValueError(f"modality {name!r}, row {rows[0]}: {items[rows[0]]!r} is no list of numbers.")
    block = _array(name, array)
    if not nested:
        return block, None
    return spread(block, rows, len(items)), np.isin(np.arange(len(items)), rows)


def _sample(name: str, row: int, item: Any) -> Any:
    """One item of a list as a number, an array, a list, or None where it is missing."""
    if not _is_sample(item) or isinstance(item, list):
        return item
    where = f"modality {name!r}, row {row}"
    if isinstance(item, Set):
        raise ValueError(f"{where}: {_NO_ORDER.format(type(item).__name__)} of steps.")
    try:
        item = _unwrapped(item)
        if not isinstance(item, tuple) and not sp.issparse(item):
            item = item if isinstance(item, np.ma.MaskedArray) else np.asarray(item)
            if item.dtype == object and item.ndim == 1 and len(item) and _is_sample(item[0]):
                item = as_array(item)  # a list of lists, as tables of arrow have it
    except Exception as error:  # whatever the package raises that the object comes from
        raise ValueError(f"{where}: no array can be made of a {type(item).__name__} ({error}).") from error
    if sp.issparse(item):
        raise ValueError(
            f"{where}: a sparse {type(item).__name__} in a list. Join rows into one block, "
            "scipy.sparse.vstack(rows), or make the steps of a sequence dense, item.toarray()."
        )
    if isinstance(item, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(item)
        if hidden.any() and not hidden.all():
            raise ValueError(
                f"{where}: {hidden.sum()} of {hidden.size} values are masked. A sample lacks a modality where all "
                "its values are masked; fill gaps first."
            )
        return None if hidden.size and hidden.all() else item.data
    return item


def _of_samples(name: str, items: list[Any]) -> tuple[RaggedArray, np.ndarray]:
    present = np.array([item is not None for item in items])
    try:
        ragged = RaggedArray.from_list(items)
    except ValueError as error:
        raise ValueError(f"modality {name!r}: {error}") from None
    empty = np.flatnonzero(present & (ragged.lengths == 0))
    if len(empty):
        raise ValueError(f"modality {name!r}, row {empty[0]}: an empty sequence. Mark a missing sample with None.")
    return RaggedArray(_numeric(name, ragged.values), ragged.offsets), present
