"""Named per-modality arrays that share their rows."""

from __future__ import annotations

import html
from collections.abc import Hashable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm.blocks._forms import as_block
from skmm.blocks._kinds import KINDS, Block, BlockInfo, RaggedArray, block_kind, is_lazy, sample_shape

# the kinds of block can be had from here too
__all__ = [
    "KINDS",
    "Block",
    "BlockInfo",
    "Blocks",
    "FlatLayout",
    "RaggedArray",
    "block_kind",
    "is_lazy",
    "sample_shape",
]


def _all_nan(block: Block) -> np.ndarray:
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


def _is_dense_sequence(block: Block) -> bool:
    """Whether all samples are given with as many steps, some of which may be filled up."""
    return isinstance(block, np.ndarray) and block_kind(block) == "sequence"


def _last_steps(filled: np.ndarray) -> np.ndarray:
    """Number of the last step that is filled, counted from 1, of each sample: (n, time) -> (n,)."""
    return (filled * np.arange(1, filled.shape[1] + 1)).max(axis=1, initial=0)


def _lengths_of_mask(name: str, mask: np.ndarray) -> np.ndarray:
    """Steps of each sample, of a mask over time (n, time)."""
    lengths = mask.sum(axis=1)
    broken = np.flatnonzero(_last_steps(mask) != lengths)
    if len(broken):
        row = broken[0]
        raise ValueError(
            f"present[{name!r}], row {row}: step {_last_steps(mask[[row]])[0] - 1} exists, step "
            f"{mask[row].argmin()} does not. A mask over time is True up to the end of a sample and False after it."
        )
    return lengths


def _without_nan_at_the_end(block: np.ndarray, present: np.ndarray) -> Block:
    """A dense sequence as a ragged one if samples that exist are filled up with steps of NaN, else as it is."""
    if block.dtype.kind != "f" or 0 in block.shape:
        return block
    ending = np.flatnonzero(present & np.isnan(block[:, -1, 0]))  # decides nearly every row
    filled = ~np.isnan(block[ending]).all(axis=2)
    if filled[:, -1:].all():
        return block
    lengths = np.where(present, block.shape[1], 0)
    lengths[ending] = _last_steps(filled)
    return RaggedArray.from_padded(block, lengths)


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
        Whether samples end before NaN.
    """

    start: int
    stop: int
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    ragged: bool


@dataclass(frozen=True)
class FlatLayout:
    """Which columns of a flat 2-D array belong to which modality, and their shapes.

    Made by :meth:`Blocks.to_flat`; pass it as ``modalities=`` to an estimator that is to read the flat form.
    """

    parts: Mapping[str, FlatPart]

    @property
    def n_features(self) -> int:
        """Columns of the flat array."""
        return max((part.stop for part in self.parts.values()), default=0)


def _flat_sparse(block: Any, missing: np.ndarray, dtype: np.dtype) -> tuple[sp.csr_array, tuple[int, ...]]:
    """A sparse block in the flat form, and the shape of a sample."""
    part = sp.csr_array(block, dtype=dtype)
    if missing.any():  # one stored NaN says it: a sparse row is missing if all it stores is NaN
        keep = sp.diags_array((~missing).astype(dtype))
        rows = np.flatnonzero(missing)
        nan = sp.csr_array((np.full(len(rows), np.nan, dtype), (rows, np.zeros(len(rows), int))), part.shape)
        part = sp.csr_array(keep @ part) + nan
    return part, (part.shape[1],)


def _restored_sparse(values: Any, part: FlatPart) -> tuple[sp.csr_array, np.ndarray]:
    """The block that was flattened, and which rows exist."""
    block = sp.csr_array(values)
    exists = ~_all_nan(block)
    if part.dtype.kind != "f":
        block.data = np.nan_to_num(block.data)
    return block.astype(part.dtype), exists


def _flat_dense(block: Block, missing: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, tuple[int, ...]]:
    """Any other block in the flat form, and the shape of a sample."""
    if isinstance(block, RaggedArray):
        # one step at least: its NaN says that a sample is missing
        dense = block.pad(max(1, int(block.lengths.max(initial=0)))).astype(dtype)
        dense[np.arange(dense.shape[1]) >= block.lengths[:, None]] = np.nan
    else:
        dense = np.asarray(block).astype(dtype)
    shape = dense.shape[1:]
    flat = dense.reshape(len(missing), int(np.prod(shape)))
    flat[missing] = np.nan
    return flat, shape


def _restored_dense(values: Any, part: FlatPart) -> tuple[Block, np.ndarray]:
    """The block that was flattened, and which rows exist."""
    dense = (values.toarray() if sp.issparse(values) else values).reshape(values.shape[0], *part.shape)
    exists = ~_all_nan(dense)
    if part.ragged:
        # a sample ends after its last step that is not all NaN
        filled = ~np.isnan(dense).all(axis=tuple(range(2, dense.ndim)))
        padded = RaggedArray.from_padded(dense, _last_steps(filled))
        return RaggedArray(padded.values.astype(part.dtype), padded.offsets), exists
    if part.dtype.kind == "f":
        return dense.astype(part.dtype, copy=False), exists
    return np.where(np.isnan(dense), 0, dense).astype(part.dtype), exists


class Blocks:
    """Named per-modality arrays that share their rows: the X of a multimodal estimator.

    An immutable mapping from modality name to block. ``len(X)`` is the number of samples; ``X[rows]`` selects
    samples, ``X["text"]`` one block. scikit-learn's splitters and meta-estimators index it like an array.

    Parameters
    ----------
    blocks : mapping of str to block, optional
        For names that are no Python identifiers. A block is a dense array of 1 to 5 dimensions, a scipy sparse
        matrix (kept as CSR), a DataFrame, Series or table of numbers (pandas, polars, pyarrow), a list of samples,
        a masked array (a sample is missing where it is masked whole), a torch tensor, a memory map, or any
        array-like with ``shape``, ``dtype`` and row indexing (an HDF5 data set), which is then read batch by batch.

        A list of arrays holds sequences, whatever their lengths: 1-D arrays of whole numbers are token ids (to an
        encoder that is named and reads sequences but no tokens, numbers), other 1-D arrays have one number a step.
        A list of lists of numbers is the same if their lengths differ, and the array that it makes if they do not.
        ``None`` in the place of a sample says that it is missing and changes nothing else. Where vectors, images or
        videos are wanted, by the encoder that is named or since they were fitted, a list of arrays of one shape is
        read as the array that it makes.
    present : mapping of str to array of bool, shape (n_samples,), optional
        Rows that exist, per modality. A row is missing if it is marked so here, is all NaN, masked, or ``None``.
        In a sparse block a row is missing if all its stored values are NaN. Of a dense sequence (n_samples, time,
        d) also the steps that exist, shape (n_samples, time): up to a sample's end, no gaps. It then becomes a
        ragged one, as does a dense sequence some of whose samples end with steps that are all NaN.
    **named : block
        Blocks by keyword.

    Attributes
    ----------
    present : dict of str to ndarray of bool, shape (n_samples,)
        Which rows exist.
    kinds : dict of str to str
        Kind of each block: vector, sparse, sequence, tokens, image or video. Two-dimensional integers are a
        vector; for token ids of equal length name the encoder, ``encoders={"text": "embedding"}``.

    Raises
    ------
    ValueError
        If blocks differ in length, are empty, or are not numeric, or a mask over time has a gap.

    Examples
    --------
    >>> import numpy as np
    >>> from skmm import Blocks
    >>> X = Blocks(text=np.ones((4, 3)), audio=np.ones((4, 10, 2)))
    >>> X
    Blocks(4 samples)
      text   vector    (3,)      float64
      audio  sequence  (10, 2)   float64
    >>> X[[0, 2]]["audio"].shape
    (2, 10, 2)

    Sequences that were filled up to one length, of 10, 3, 7 and 0 steps:

    >>> Blocks(X, present={"audio": np.arange(10) < [[10], [3], [7], [0]]})
    Blocks(4 samples)
      text   vector    (3,)        float64
      audio  sequence  (3..10, 2)  float64  25.0% missing
    """

    __slots__ = ("_blocks", "_n", "_present")

    def __init__(
        self,
        blocks: Mapping[str, Any] | None = None,
        /,
        *,
        present: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> None:
        if blocks is not None and not isinstance(blocks, (Mapping, Blocks)):
            raise TypeError(
                f"Blocks takes a mapping of name to block, got {type(blocks).__name__}: give a dict, "
                "{'text': ..., 'image': ...}, or Blocks(text=..., image=...)."
            )
        given: dict[str, Any] = {**(dict(blocks.items()) if blocks is not None else {}), **named}
        if not given:
            raise ValueError("Blocks needs at least one modality, e.g. Blocks(text=t, image=i).")
        self._blocks: dict[str, Block] = {}
        self._present: dict[str, np.ndarray] = {}
        for name, value in given.items():
            if not isinstance(name, str):
                raise ValueError(f"modality names must be strings, got {name!r}.")
            block, exists = as_block(name, value)
            exists = ~_all_nan(block) if exists is None else exists & ~_all_nan(block)
            self._blocks[name] = block
            self._present[name] = exists
        lengths = {name: len(p) for name, p in self._present.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"modalities have different numbers of samples: {lengths}.")
        self._n = next(iter(lengths.values()))
        if isinstance(blocks, Blocks):
            for name in blocks._present.keys() - named.keys():
                self._present[name] = blocks._present[name]
        for name, mask in (present or {}).items():
            if name not in self._blocks:
                raise ValueError(f"present names modality {name!r}, which is not among {list(self._blocks)}.")
            self._mark(name, np.asarray(mask))
        for name, block in self._blocks.items():
            if _is_dense_sequence(block):
                self._blocks[name] = _without_nan_at_the_end(block, self._present[name])

    def _mark(self, name: str, mask: np.ndarray) -> None:
        """Leave out, while these are built, what a mask over the samples of a modality or their steps says."""
        block = self._blocks[name]
        over_time = block.shape[:2] if _is_dense_sequence(block) else None
        if mask.dtype != bool or mask.shape not in ((self._n,), over_time):
            valid = f"{self._n} booleans"
            if over_time is not None:
                valid += f", or booleans of shape {over_time} for its steps"
            raise ValueError(f"present[{name!r}] must be {valid}, got {mask.dtype} of shape {mask.shape}.")
        if mask.ndim == 2:
            steps = np.where(self._present[name], _lengths_of_mask(name, mask), 0)
            self._blocks[name] = block = RaggedArray.from_padded(block, steps)
            mask = (steps > 0) & ~_all_nan(block)
        self._present[name] = self._present[name] & mask

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "_n"):
            raise AttributeError("Blocks is immutable; build a new one.")
        object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return trusted_blocks, (self._blocks, self._present, self._n)

    # -- mapping ---------------------------------------------------------------------------------------------

    def keys(self) -> KeysView[str]:
        """Names of the modalities, in order."""
        return self._blocks.keys()

    def values(self) -> ValuesView[Block]:
        """The blocks, in order."""
        return self._blocks.values()

    def items(self) -> ItemsView[str, Block]:
        """Pairs of name and block, in order."""
        return self._blocks.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __contains__(self, name: Hashable) -> bool:
        return name in self._blocks

    @property
    def present(self) -> dict[str, np.ndarray]:
        """Which rows of each modality exist, shape (n_samples,), by name, in order."""
        return dict(self._present)

    @property
    def kinds(self) -> dict[str, str]:
        """What each block is, one of ``KINDS``, by name, in order."""
        return {name: block_kind(block) for name, block in self._blocks.items()}

    # -- samples ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._n

    @property
    def shape(self) -> tuple[int]:
        """``(n_samples,)``: what scikit-learn asks of anything that it indexes by rows."""
        return (self._n,)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._blocks:
                raise KeyError(f"no modality {key!r}; there are {list(self._blocks)}")
            return self._blocks[key]
        if isinstance(key, tuple):  # scikit-learn indexes arrays as X[rows, ...]
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(f"Blocks are indexed by rows, X[rows] or X[rows, ...], got {key!r}")
            key = key[0]
        if isinstance(key, (int, np.integer)):
            key = [key]
        rows = np.arange(self._n)[key if isinstance(key, slice) else np.asarray(key, dtype=_index_dtype(key))]
        return trusted_blocks(
            {name: block[rows] for name, block in self._blocks.items()},
            {name: mask[rows] for name, mask in self._present.items()},
            len(rows),
        )

    def select(self, names: Iterable[str]) -> Blocks:
        """The named modalities alone, in the order given."""
        names = list(names)
        if not names:
            raise ValueError(f"select at least one of {list(self._blocks)}.")
        return trusted_blocks(
            {name: self[name] for name in names}, {name: self._present[name] for name in names}, self._n
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            f"Blocks holds {len(self._blocks)} modalities and is not one array. For a tool that insists on 2-D "
            "input: flat, layout = X.to_flat(), and the estimator with modalities=layout."
        )

    # -- the flat form ---------------------------------------------------------------------------------------

    def to_flat(self) -> tuple[Any, FlatLayout]:
        """Join all modalities into one 2-D array.

        Returns
        -------
        flat : ndarray or csr_array of shape (n_samples, n_columns)
            Missing rows and the time after a ragged sample's end are NaN. CSR if any block is sparse.
        layout : FlatLayout
            How to read it back; also what an estimator takes as ``modalities=``.

        Examples
        --------
        >>> import numpy as np
        >>> from skmm import Blocks
        >>> flat, layout = Blocks(a=np.ones((4, 3)), b=np.ones((4, 5, 2))).to_flat()
        >>> flat.shape
        (4, 13)
        >>> Blocks.from_flat(flat, layout)["b"].shape
        (4, 5, 2)
        """
        dtypes = [np.asarray(b.dtype.type(0)).dtype for b in self._blocks.values()]
        small = all(t.itemsize < 4 or t == np.float32 for t in dtypes)
        dtype = np.dtype(np.float32 if small else np.float64)
        flat: list[Any] = []
        parts: dict[str, FlatPart] = {}
        start = 0
        for name, block in self._blocks.items():
            flatten = _flat_sparse if sp.issparse(block) else _flat_dense
            values, shape = flatten(block, ~self._present[name], dtype)
            ragged, stop = isinstance(block, RaggedArray), start + values.shape[1]
            parts[name] = FlatPart(start, stop, block_kind(block), shape, block.dtype, ragged)
            start = stop
            flat.append(values)
        layout = FlatLayout(parts)
        if any(sp.issparse(values) for values in flat):
            return sp.csr_array(sp.hstack(flat, format="csr", dtype=dtype)), layout
        return np.concatenate(flat, axis=1), layout

    @classmethod
    def from_flat(cls, flat: Any, layout: FlatLayout) -> Blocks:
        """Undo :meth:`to_flat`.

        Raises
        ------
        ValueError
            If the number of columns is not the layout's.
        """
        if hasattr(flat, "to_numpy"):
            flat = flat.to_numpy()
        if not sp.issparse(flat):
            flat = np.asarray(flat)
        if len(flat.shape) != 2 or flat.shape[1] != layout.n_features:
            raise ValueError(
                f"the flat form must have shape (n, {layout.n_features}), as its layout says, got {flat.shape}."
            )
        blocks: dict[str, Any] = {}
        present: dict[str, np.ndarray] = {}
        for name, part in layout.parts.items():
            restore = _restored_sparse if part.kind == "sparse" else _restored_dense
            blocks[name], present[name] = restore(flat[:, part.start : part.stop], part)
        return trusted_blocks(blocks, present, flat.shape[0])

    # -- display ---------------------------------------------------------------------------------------------

    def _rows_of_repr(self) -> list[tuple[str, str, str, str, str]]:
        """Name, kind, shape of a sample, type and share missing of each modality."""
        rows = []
        for name, block in self._blocks.items():
            if isinstance(block, RaggedArray):
                lengths = block.lengths[self._present[name]]
                span = f"{lengths.min(initial=0) if len(lengths) == 0 else lengths.min()}..{lengths.max(initial=0)}"
                shape = f"({', '.join([span, *map(str, block.inner_shape)])})"
            else:
                shape = str(tuple(int(s) for s in block.shape[1:]))
            missing = 1 - self._present[name].mean() if self._n else 0.0
            note = f"{missing:.1%} missing" if missing else ""
            rows.append((name, block_kind(block), shape, str(block.dtype), note))
        return rows

    def __repr__(self) -> str:
        rows = self._rows_of_repr()
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n  ".join([f"Blocks({self._n} samples)", *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{h}</th>" for h in ("modality", "kind", "shape", "dtype", "missing"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows_of_repr()
        )
        return f"<table><caption>Blocks, {self._n} samples</caption><tr>{head}</tr>{body}</table>"


def trusted_blocks(blocks: dict[str, Block], present: dict[str, np.ndarray], n_samples: int) -> Blocks:
    """Blocks of parts of other Blocks, which are not checked again."""
    new = object.__new__(Blocks)
    new._blocks, new._present, new._n = blocks, present, n_samples
    return new


def _index_dtype(key: Any) -> Any:
    # an empty list would become float64, which cannot index
    return np.intp if isinstance(key, (list, tuple)) and len(key) == 0 else None
