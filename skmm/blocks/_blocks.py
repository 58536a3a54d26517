"""Named per-modality arrays that share their rows."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Hashable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import numpy as np
import scipy.sparse as sp

from skmm._checks import unknown
from skmm._parallel import size_of
from skmm.blocks._flat import FlatLayout, FlatPart, flat_part, flattened, nothing, restored
from skmm.blocks._forms import as_block
from skmm.blocks._kinds import (
    KINDS,
    Block,
    BlockInfo,
    RaggedArray,
    all_nan,
    block_kind,
    is_lazy,
    last_steps,
    sample_shape,
    side_by_side,
)
from skmm.blocks._stored import stored_blocks
from skmm.columns._lazy import HELD, LazyTable

# the kinds of block can be had from here too
__all__ = [
    "KINDS",
    "Block",
    "BlockInfo",
    "Blocks",
    "FlatLayout",
    "FlatPart",
    "RaggedArray",
    "block_kind",
    "is_lazy",
    "sample_shape",
]


def _is_dense_sequence(block: Block) -> bool:
    """Whether all samples are given with as many steps, some of which may be filled up."""
    return isinstance(block, np.ndarray) and block_kind(block) == "sequence"


def _lengths_of_mask(name: str, mask: np.ndarray) -> np.ndarray:
    """Steps of each sample, of a mask over time (n, time)."""
    lengths = mask.sum(axis=1)
    broken = np.flatnonzero(last_steps(mask) != lengths)
    if len(broken):
        row = broken[0]
        raise ValueError(
            f"present[{name!r}], row {row}: step {last_steps(mask[[row]])[0] - 1} exists, step "
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
    lengths[ending] = last_steps(filled)
    return RaggedArray.from_padded(block, lengths)


class _Rows(tuple[int]):
    """The shape of Blocks, which says to whom asks for the number of columns that there is none."""

    def __getitem__(self, axis: Any) -> Any:
        try:
            return super().__getitem__(axis)
        except IndexError:
            raise IndexError(
                "Blocks have one axis, their samples. For a tool that counts columns: flat, layout = X.to_flat(), "
                "and the estimator with modalities=layout."
            ) from None


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

    __slots__ = ("__weakref__", "_blocks", "_n", "_present")

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
            exists = ~all_nan(block) if exists is None else exists & ~all_nan(block)
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
            mask = (steps > 0) & ~all_nan(block)
        self._present[name] = self._present[name] & mask

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, "_n"):
            raise AttributeError("Blocks is immutable; build a new one.")
        object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return trusted_blocks, (self._blocks, self._present, self._n)

    def __sizeof__(self) -> int:
        """Bytes of all blocks: by them an engine of a cluster sees what is to be shipped once for many calls."""
        return object.__sizeof__(self) + size_of([self._blocks, self._present])

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
        return _Rows((self._n,))

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
            f"Blocks holds {len(self._blocks)} modalities and is not one array. A tool that insists on 2-D input "
            "takes them inside of FlatEstimator, FlatEstimator(BaggingClassifier(...)); or give it "
            "flat, layout = X.to_flat(), and the estimator modalities=layout."
        )

    # -- the flat form ---------------------------------------------------------------------------------------

    def to_flat(self, layout: FlatLayout | None = None, *, gaps: str = "nan") -> tuple[Any, FlatLayout]:
        """Join all modalities into one 2-D array.

        Parameters
        ----------
        layout : FlatLayout, optional
            That of other samples, those of training say, whose columns these take. A modality that is not here is
            missing, and the steps of a sample after the longest one's there are cut, with a warning.
        gaps : {"nan", "counted"}, default="nan"
            How the form says, where no ``layout`` does, what is missing. "nan": missing rows and the time after a
            ragged sample's end are NaN. "counted": they are 0, and a last column of each modality counts the steps
            that are missing, 1 for a row of a modality without steps; no value is NaN, which is what many tools
            ask for.

        Returns
        -------
        flat : ndarray or csr_array of shape (n_samples, n_columns)
            CSR if any block is sparse.
        layout : FlatLayout
            How to read it back; also what an estimator takes as ``modalities=``.

        Raises
        ------
        ValueError
            If ``gaps`` is unknown, or a modality is not what the ``layout`` says.

        Examples
        --------
        >>> import numpy as np
        >>> from skmm import Blocks
        >>> flat, layout = Blocks(a=np.ones((4, 3)), b=np.ones((4, 5, 2))).to_flat()
        >>> flat.shape
        (4, 13)
        >>> Blocks.from_flat(flat, layout)["b"].shape
        (4, 5, 2)

        Of two sequences, of one step and of two, the first lacks one:

        >>> Blocks(walk=[np.array([7.0]), np.array([8.0, 9.0])]).to_flat(gaps="counted")[0]
        array([[7., 0., 1.],
               [8., 9., 0.]])
        """
        if layout is None:
            if gaps not in ("nan", "counted"):
                raise unknown("gaps", gaps, ["nan", "counted"])
            parts: dict[str, FlatPart] = {}
            for name, block in self._blocks.items():
                start = max((part.stop for part in parts.values()), default=0)
                parts[name] = flat_part(block, start, gaps == "counted")
            layout = FlatLayout(parts)
        for name in self._blocks.keys() - layout.parts.keys():
            raise ValueError(f"modality {name!r} has no columns in the layout, which has {list(layout.parts)}.")
        dtypes = [np.asarray(part.dtype.type(0)).dtype for part in layout.parts.values()]
        small = all(t.itemsize < 4 or t == np.float32 for t in dtypes)
        dtype = np.dtype(np.float32 if small else np.float64)
        flat = []
        for name, part in layout.parts.items():
            block, present = self._blocks.get(name), self._present.get(name)
            if block is None or present is None:
                block, present = nothing(part, self._n), np.zeros(self._n, dtype=bool)
            flat.append(flattened(name, block, present, part, dtype))
        return side_by_side(flat, dtype), layout

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
        added = flat.shape[1] - layout.n_features if len(flat.shape) == 2 else -1
        if added < 0 or (added and layout.rest is None):
            raise ValueError(
                f"the flat form must have shape (n, {layout.n_features}), as its layout says, got {flat.shape}. "
                f"For a tool that adds columns there is FlatEstimator, FlatEstimator(ClassifierChain(...))."
            )
        blocks: dict[str, Any] = {}
        present: dict[str, np.ndarray] = {}
        for name, part in layout.parts.items():
            blocks[name], present[name] = restored(flat[:, part.start : part.stop], part)
        if added:
            rest = flat[:, layout.n_features :]
            blocks[str(layout.rest)] = rest.toarray() if sp.issparse(rest) else rest
            present[str(layout.rest)] = np.ones(rest.shape[0], dtype=bool)
        return trusted_blocks(blocks, present, flat.shape[0])

    # -- tables larger than memory ---------------------------------------------------------------------------

    @classmethod
    def from_parquet(
        cls,
        path: str | os.PathLike[str],
        modalities: Mapping[str, Any] | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        buffer_bytes: int = HELD,
    ) -> Blocks:
        """Numbers in a Parquet file, or a folder of such files, as blocks that are read batch by batch.

        Text, categories, dates and files are no numbers yet: give :meth:`LazyTable.from_parquet` to an estimator or
        a :class:`~skmm.ModalityTransformer`. Needs pyarrow: ``pip install "skmm[dataframe]"``.

        Parameters
        ----------
        path : str or path
            The file or folder, as :meth:`LazyTable.from_parquet` takes it.
        modalities : mapping of str to str or list of str, optional
            The columns of each modality. Columns of one number a row make a vector; a column of lists is a modality
            of its own: vectors where the lists have one length, else sequences, of lists of whole numbers the ids
            of tokens; lists of lists are sequences of vectors, deeper ones images and videos of one shape. None is
            one modality, ``"table"``, of all columns of one number, and one for each column of lists.
        kinds : mapping of str to {"vector", "sequence", "tokens"}, optional
            What a modality of a column of lists is, where that is known better.
        buffer_bytes : int, default=268435456
            Bytes of rows that are held at a time, and among which they are shuffled in training.

        Returns
        -------
        Blocks
            A sample is missing where its list is null, or all its numbers are null or NaN.

        Raises
        ------
        ImportError
            If pyarrow is not installed.
        ValueError
            If the files cannot be read, or a column is not there, holds no numbers, or arrays of several shapes;
            names the file and the column. When rows are read: if a list has another length than the first.

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> from skmm import Blocks
        >>> df = pd.DataFrame({
        ...     "price": [3.5, 4.0], "age": [1, 2], "embedding": [[0.1, 0.2, 0.3]] * 2,
        ...     "walk": [[[0.0, 1.0]], [[2.0, 3.0]] * 4],
        ... })
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.to_parquet(f"{folder}/part.parquet")
        ...     X = Blocks.from_parquet(folder)
        >>> X
        Blocks(2 samples)
          table      vector    (2,)      float64
          embedding  vector    (3,)      float64
          walk       sequence  (any, 2)  float64
        """
        table = LazyTable.from_parquet(path, _columns_of(modalities), buffer_bytes=buffer_bytes)
        return cls._of_table(table, modalities, kinds)

    @classmethod
    def from_huggingface(
        cls,
        dataset: Any,
        modalities: Mapping[str, Any] | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        buffer_bytes: int = HELD,
    ) -> Blocks:
        """Numbers in a Dataset of Hugging Face as blocks that are read batch by batch.

        Needs the packages datasets and pyarrow.

        Parameters
        ----------
        dataset : datasets.Dataset
            As :meth:`LazyTable.from_huggingface` takes it.
        modalities, kinds, buffer_bytes
            As in :meth:`from_parquet`.

        Returns
        -------
        Blocks

        Raises
        ------
        ValueError
            As in :meth:`from_parquet`, and if it is no Dataset, or one that can only be read in turn.
        """
        table = LazyTable.from_huggingface(dataset, _columns_of(modalities), buffer_bytes=buffer_bytes)
        return cls._of_table(table, modalities, kinds)

    @classmethod
    def _of_table(
        cls, table: LazyTable, modalities: Mapping[str, Any] | None, kinds: Mapping[str, str] | None
    ) -> Blocks:
        blocks, present = stored_blocks(table, modalities, kinds)
        return cls(blocks, present=present)

    # -- display ---------------------------------------------------------------------------------------------

    def _rows_of_repr(self) -> list[tuple[str, str, str, str, str]]:
        """Name, kind, shape of a sample, type and share missing of each modality."""
        rows = []
        for name, block in self._blocks.items():
            if is_lazy(block) and isinstance(block.template, RaggedArray):
                shape = f"({', '.join(['any', *map(str, block.template.inner_shape)])})"
            elif isinstance(block, RaggedArray):
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


def _columns_of(modalities: Any) -> list[str] | None:
    """The columns that modalities are made of; None for all of a table, or where they are not said as asked."""
    if not isinstance(modalities, Mapping):
        return None
    found = [c for columns in modalities.values() for c in (columns if isinstance(columns, list) else [columns])]
    return list(dict.fromkeys(found)) if all(isinstance(column, str) for column in found) else None


def _index_dtype(key: Any) -> Any:
    # an empty list would become float64, which cannot index
    return np.intp if isinstance(key, (list, tuple)) and len(key) == 0 else None


def without(X: Blocks, names: Collection[str]) -> Blocks:
    """X with some modalities marked as missing in all samples; what they hold is not copied."""
    present = {name: mask & (name not in names) for name, mask in X.present.items()}
    return Blocks(dict(X.items()), present=present)
